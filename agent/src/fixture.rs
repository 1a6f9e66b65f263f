//! For tests: options and leases as several of them need them.

use std::path::Path;

use tweed_model::lease::Term;
use tweed_model::{Dual, Lease, LeaseAttrs};

use crate::config::flags::Flags;
use crate::config::options::Options;
use crate::config::settings::Settings;

/// Options of these flags.
pub fn options(flags: impl IntoIterator<Item = (&'static str, String)>) -> Options {
    let flags = flags.into_iter().map(|(name, value)| (name, vec![value]));
    let flags = Flags(flags.collect());
    Options::read(&Settings::new(&flags, &|_| None)).expect("options")
}

/// Options of an agent whose store and files are in a folder.
pub fn options_in(folder: &Path, more: &[(&'static str, String)]) -> Options {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let files = [
        ("store", "file".to_owned()),
        ("store-dir", path("store")),
        ("state-dir", path("state")),
        ("run-dir", path("run")),
        ("subnet-file", path("subnet.env")),
    ];
    options(files.into_iter().chain(more.iter().cloned()))
}

/// A lease of VXLAN.
pub fn lease(key: &str, public: &str, mac: &str) -> Lease {
    Lease {
        key: key.parse().expect("a key"),
        attrs: LeaseAttrs {
            public: Dual::of_addrs([public.parse().expect("an address")]),
            backend_type: "vxlan".to_owned(),
            data: Dual {
                v4: Some(serde_json::json!({ "VNI": 1, "VtepMAC": mac }).into()),
                v6: None,
            },
        },
        node: None,
        created: 1,
        term: Term::Leased,
    }
}
