//! Attachments without their port. Those of containers that are gone are swept; those of other containers can't be
//! repaired here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tweed_attach::Owner;
use tweed_attach::live::{
    Attachment, Recorded, forwarding, free_source, is_surely_gone, remove_owner,
};
use tweed_attach::record::leaving;
use tweed_host::KernelError;
use tweed_netlink::Netfilter;
use tweed_netlink::netns::Netns;

/// A plugin that was at work has ended by then.
const SETTLED: Duration = Duration::from_secs(5);

/// Times since when attachments have been without their port.
#[derive(Debug, Default)]
pub(super) struct Gone {
    since: BTreeMap<Owner, Instant>,
}

/// Attachments that have been without their port for a while.
#[derive(Debug, Default)]
pub(super) struct Portless {
    /// Attachments of containers that are gone.
    pub(super) gone: BTreeSet<String>,
    /// Attachments of containers that are there, with the names of their ports.
    pub(super) alive: BTreeMap<String, String>,
    /// Attachments of containers of which nothing is known, with the names of their ports.
    pub(super) doubtful: BTreeMap<String, String>,
}

impl Gone {
    /// Sorts those whose port is `missing`, and those of which no port is known.
    pub(super) fn look(
        &mut self,
        missing: &[(String, Owner)],
        recorded: &Recorded,
        now: Instant,
    ) -> Portless {
        let unplaced = recorded.attachments.values();
        let unplaced = unplaced
            .filter(|one| one.bridged.is_none() && one.routed.is_none() && !one.netns.is_empty());
        let without: BTreeMap<&Owner, Option<&String>> = unplaced
            .map(|one| (&one.owner, None))
            .chain(missing.iter().map(|(port, owner)| (owner, Some(port))))
            .collect();
        self.since.retain(|owner, _| without.contains_key(owner));
        let mut found = Portless::default();
        for (owner, port) in without {
            let since = *self.since.entry(owner.clone()).or_insert(now);
            let attachment = recorded.attachments.get(owner);
            let Some(attachment) = attachment.filter(|_| now.duration_since(since) >= SETTLED)
            else {
                continue;
            };
            let own = !attachment.files.is_empty();
            let netns = Path::new(&attachment.netns);
            let record = attachment.files.first();
            let is_gone = || record.is_some_and(|record| is_surely_gone(netns, record));
            match (Netns::open(netns), port) {
                (Err(_), _) if is_gone() => drop(found.gone.insert(owner.to_string())),
                (Ok(_), Some(port)) => drop(found.alive.insert(owner.to_string(), port.clone())),
                (Err(_), Some(port)) if own => {
                    found.doubtful.insert(owner.to_string(), port.clone());
                }
                _ => {}
            }
        }
        found
    }
}

/// Removes what is left of an attachment, as its plugin would. Its interface went with its namespace.
pub(super) fn sweep(
    socket: &mut Netfilter,
    attachment: &Attachment,
    recorded: &Recorded,
) -> Result<(), KernelError> {
    let refused = |source| KernelError {
        what: format!("remove records of {}", attachment.owner),
        source,
    };
    for file in &attachment.files {
        fs::rename(file, leaving(file)).map_err(refused)?;
    }
    remove_owner(socket, &attachment.owner)?;
    let ports = attachment.bridged.iter().flat_map(|bridged| &bridged.ports);
    if ports.into_iter().any(|port| port.only_source.is_some()) {
        free_source(socket, &attachment.owner)?;
    }
    forwarding::unaccept(socket, &own_addresses(attachment, recorded))?;
    let mut files = attachment.files.iter();
    files.try_for_each(|file| fs::remove_file(leaving(file)).map_err(refused))
}

/// The addresses that the host forwards for no other attachment.
pub(super) fn own_addresses(attachment: &Attachment, recorded: &Recorded) -> BTreeSet<IpAddr> {
    let own = attachment.forwarded.iter();
    let own = own.flat_map(|record| record.forwarded.iter().copied());
    let others = recorded.attachments.values();
    let others = others.filter(|other| other.owner != attachment.owner);
    let others: BTreeSet<&IpAddr> = others
        .filter_map(|other| other.forwarded.as_ref())
        .flat_map(|record| &record.forwarded)
        .collect();
    own.filter(|addr| !others.contains(addr)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// The numbers of gone, alive and doubtful attachments with this namespace after this time.
    fn found(netns: &str, records: &Path, wait: Duration) -> (usize, usize, usize) {
        let record = records.join("a.json");
        fs::write(&record, "").unwrap();
        let owner = Owner::new("cbr0", "a", "eth0");
        let attachment = Attachment {
            owner: owner.clone(),
            netns: netns.to_owned(),
            bridged: None,
            routed: None,
            others: None,
            masquerade: Vec::new(),
            publication: None,
            forwarded: None,
            written: SystemTime::UNIX_EPOCH,
            files: vec![record],
        };
        let recorded = Recorded {
            attachments: BTreeMap::from([(owner.clone(), attachment)]),
            ..Recorded::default()
        };
        let missing = [("veth1".to_owned(), owner)];
        let mut gone = Gone::default();
        let now = Instant::now();
        gone.look(&missing, &recorded, now);
        let found = gone.look(&missing, &recorded, now + wait);
        (found.gone.len(), found.alive.len(), found.doubtful.len())
    }

    #[test]
    fn a_container_is_gone_where_the_folder_of_its_namespace_is_the_hosts_and_doubtful_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path();
        let in_folder = records.join("netns").to_string_lossy().into_owned();
        assert_eq!(found(&in_folder, records, SETTLED), (1, 0, 0));
        assert_eq!(found("/nowhere/at/all", records, SETTLED), (0, 0, 1));
        assert_eq!(found("", records, SETTLED), (0, 0, 1));
        // A folder that is there, and another one than the records'.
        assert_eq!(found("/proc/self/none", records, SETTLED), (0, 0, 1));
        let alive = "/proc/thread-self/ns/net";
        assert_eq!(found(alive, records, SETTLED), (0, 1, 0));
        assert_eq!(
            found(&in_folder, records, SETTLED / 2),
            (0, 0, 0),
            "too soon"
        );
    }
}
