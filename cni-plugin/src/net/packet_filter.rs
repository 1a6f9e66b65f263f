//! The packet filter, as far as all its users need it.

use tweed_attach::live::owners;
use tweed_netlink::Netfilter;

use crate::spec::{CniError, Context, Kind};

/// A client of the packet filter.
///
/// # Errors
/// When the kernel has none.
pub(crate) fn socket() -> Result<Netfilter, CniError> {
    Netfilter::open().context(|| "open a socket to the packet filter (is nf_tables there?)")
}

/// STATUS of a plugin that needs the packet filter.
///
/// # Errors
/// That no pod can be attached now, when the packet filter doesn't answer.
pub(crate) fn status() -> Result<(), CniError> {
    let asked = socket().and_then(|mut socket| {
        owners(&mut socket).context(|| "ask the packet filter (needs nf_tables and CAP_NET_ADMIN)")
    });
    asked.map(drop).map_err(|error| CniError {
        kind: Kind::NotAvailable,
        ..error
    })
}
