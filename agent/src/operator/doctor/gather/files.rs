//! Modules of the kernel, the container runtime's folders, and the addresses that containers have.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tweed_host::bounded_file::{self, Links, MIB};

use crate::config::flags;
use crate::config::options::CniOptions;
use crate::daemon::status::Status;
use crate::files::cni::conflist;
use crate::operator::doctor::facts::{List, Pool, Runtime};

/// Modules that are built in, loaded, or can be loaded; `None` where the kernel's list isn't there.
pub fn modules(root: &Path) -> Option<Vec<String>> {
    let release = fs::read_to_string(root.join("proc/sys/kernel/osrelease")).ok()?;
    let folder = root.join("lib/modules").join(release.trim());
    let text = |name: &str| {
        bounded_file::text(bounded_file::read(
            &folder.join(name),
            Links::Followed,
            64 * MIB,
        )?)
    };
    let (built_in, loadable) = (text("modules.builtin").ok()?, text("modules.dep").ok()?);
    let loaded = fs::read_to_string(root.join("proc/modules")).unwrap_or_default();
    let name = |path: &str| {
        let file = Path::new(path.split(':').next()?).file_name()?.to_str()?;
        Some(file.split('.').next()?.replace('-', "_"))
    };
    let files = built_in.lines().chain(loadable.lines()).filter_map(name);
    let loaded = loaded.lines().filter_map(|line| line.split(' ').next());
    Some(files.chain(loaded.map(str::to_owned)).collect())
}

/// The runtime's folders, as the agent was told, or where they usually are.
pub fn runtime(options: Option<&CniOptions>) -> Runtime {
    let default = |flag: &flags::Flag| PathBuf::from(flag.default);
    let (conf_dir, bin_dir) = match options {
        Some(options) => (options.conf_dir.clone(), options.bin_dir.clone()),
        None => (default(&flags::CNI_CONF_DIR), default(&flags::CNI_BIN_DIR)),
    };
    Runtime {
        list: first(&conf_dir, &bin_dir),
        conf_dir,
        bin_dir,
    }
}

/// The configuration that a runtime takes: the first in the order of names.
fn first(conf_dir: &Path, bin_dir: &Path) -> Result<Option<List>, String> {
    if !conf_dir.exists() {
        return Ok(None);
    }
    let names = conflist::sorting_before(conf_dir, "\u{10ffff}");
    let names = names.map_err(|error| format!("{error:#}"))?;
    let mut names = names.into_iter();
    let Some(file) = names.next() else {
        return Ok(None);
    };
    let read = |file: &Path| {
        let text = bounded_file::read(file, Links::Followed, MIB).and_then(bounded_file::text);
        text.map_err(|error| format!("{}: {error}", file.display()))
    };
    let text = read(&file)?;
    let error = serde_json::from_str::<Value>(&text).err();
    let is_ours = |text: &str| conflist::is_flannels(text.as_bytes());
    let ours = is_ours(&text);
    let mut later = names.filter(|file| read(file).is_ok_and(|text| is_ours(&text)));
    Ok(Some(List {
        ours,
        shadowed: later.next().filter(|_| !ours),
        missing: conflist::missing_plugins(&text, bin_dir),
        error: error.map(|error| error.to_string()),
        file,
    }))
}

/// What host-local has reserved: a folder a network, a file an address.
pub fn pools(folder: &Path, status: &Status) -> Vec<Pool> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.collect()
    };
    let pool = |network: String| {
        let files = names(&folder.join(&network));
        let addrs: Vec<std::net::IpAddr> =
            files.iter().filter_map(|name| name.parse().ok()).collect();
        let inside = |addr: &&std::net::IpAddr| {
            let mut subnets = status.subnets.values();
            subnets.any(|subnet| subnet.contains(*addr))
        };
        // Without network and broadcast address, and the gateway's.
        let v4 = status
            .subnets
            .values()
            .find(|subnet| subnet.addr().is_ipv4());
        let size = v4.map(|subnet| (1_u64 << (32 - subnet.prefix_len())).saturating_sub(3));
        let v4_used = addrs.iter().filter(|addr| addr.is_ipv4()).count();
        Pool {
            network,
            used: v4_used,
            size: size.filter(|_| addrs.iter().any(|addr| inside(&addr))),
        }
    };
    names(folder).into_iter().map(pool).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_known_by_their_files_whatever_they_are_packed_with() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, text).expect("written");
        };
        assert_eq!(modules(root.path()), None);
        write("proc/sys/kernel/osrelease", "6.1.0\n");
        assert_eq!(modules(root.path()), None, "no list");
        write(
            "lib/modules/6.1.0/modules.builtin",
            "kernel/drivers/net/tun.ko\n",
        );
        write(
            "lib/modules/6.1.0/modules.dep",
            "kernel/net/bridge/br-netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz\n",
        );
        write("proc/modules", "vxlan 131072 0 - Live 0x0\n");
        let modules = modules(root.path()).expect("a list");
        assert_eq!(modules, ["tun", "br_netfilter", "vxlan"]);
    }

    #[test]
    fn the_runtime_takes_the_first_configuration_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (conf, bin) = (folder.path().join("conf"), folder.path().join("bin"));
        let first = || first(&conf, &bin).expect("read");
        assert!(first().is_none(), "no folder");
        fs::create_dir_all(&conf).expect("made");
        assert!(first().is_none(), "an empty folder");
        let ours = r#"{"plugins": [{"type": "flannel"}, {"type": "other"}]}"#;
        fs::write(conf.join("10-tweed.conflist"), ours).expect("written");
        let list = first().expect("a list");
        assert!(list.ours && list.error.is_none() && list.shadowed.is_none());
        assert_eq!(list.missing, ["flannel", "other"]);
        fs::write(conf.join("05-calico.conflist"), "{").expect("written");
        let list = first().expect("a list");
        assert!(!list.ours && list.error.is_some());
        assert_eq!(list.shadowed, Some(conf.join("10-tweed.conflist")));
        assert!(list.file.ends_with("05-calico.conflist"));
    }
}
