//! Links that a plugin's DEL has set aside: the agent removes them, which does not run.

use anyhow::{Context, Result};
use tweed_attach::live::discarded::discarded;
use tweed_netlink::Netlink;

use super::report::CleanupReport;

/// Removes them, or lists them.
///
/// # Errors
/// When links can't be listed, or the kernel refuses.
pub(super) fn clean(dry_run: bool, report: &mut CleanupReport) -> Result<()> {
    let mut netlink = Netlink::open().context("open a netlink socket")?;
    let links = discarded(&mut netlink)?;
    if !dry_run {
        netlink.del_links(&links)?;
    }
    let words = links.iter().map(|link| {
        let (name, owner) = (&link.name, &link.alias);
        format!("delete link {name}, which DEL has set aside of {owner}")
    });
    report.changes.extend(words);
    Ok(())
}
