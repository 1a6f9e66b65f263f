//! What is known of containers' attachments: where their network namespaces were, and whether they are still there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tweed_host::bounded_file::{self, KIB, MIB};
use tweed_netlink::LinkInfo;
use tweed_netlink::netns::Netns;

use super::scope::Scope;
use crate::libcni::CachedPlace;
use crate::live::gone::is_surely_gone;
use crate::reservation::{NOTES, Note};
use crate::{Owner, PortRecord, Record};

/// The longest note that is read, in bytes: a path has 4 KiB at most.
const LONGEST: usize = 8 * KIB;

/// All attachments of the networks in question of which something is known.
pub(super) struct Claims {
    by_owner: BTreeMap<Owner, Claim>,
    records: PathBuf,
}

/// One attachment.
#[derive(Default)]
struct Claim {
    /// Paths of the network namespace, and whether they are of this mount namespace.
    netns: BTreeSet<(PathBuf, bool)>,
    network: String,
    container: String,
    /// The host has an end of its interface.
    has_port: bool,
}

impl Claims {
    pub(super) fn read(scope: &Scope, links: &[LinkInfo]) -> Self {
        let mut claims = Self {
            by_owner: BTreeMap::new(),
            records: scope.records.clone(),
        };
        let has = |name: &str| links.iter().any(|link| link.name == name);
        for text in texts(&scope.records, MIB) {
            claims.add_record(scope, &text, &has);
        }
        for text in texts(&scope.results, MIB) {
            let Some(place) = CachedPlace::parse(&text) else {
                continue;
            };
            let key = (&*place.network, &*place.container_id, &*place.ifname);
            if let Some(claim) = claims.of(scope, key, &place.netns, false) {
                // Beside the container's own there is the bridge, which stays.
                claim.has_port |= place.host_ends().any(|name| is_port(links, name));
            }
        }
        let mounts = fs::read_link("/proc/thread-self/ns/mnt").unwrap_or_default();
        for folder in scope.folders() {
            for text in texts(&folder.join(NOTES), LONGEST) {
                claims.add_note(scope, &folder, &text, &mounts);
            }
        }
        claims.look_at(links);
        claims
    }

    fn add_record(&mut self, scope: &Scope, text: &str, has: &impl Fn(&str) -> bool) {
        if let Some(record) = Record::parse(text) {
            let key = (&*record.network, &*record.container_id, &*record.ifname);
            if let Some(claim) = self.of(scope, key, &record.netns, false) {
                let mut ports = record.bridged.iter().flat_map(|bridged| &bridged.ports);
                claim.has_port |= ports.any(|port| has(&port.name));
            }
        } else if let Some(record) = PortRecord::parse(text) {
            let key = (&*record.network, &*record.container_id, &*record.ifname);
            self.of(scope, key, &record.netns, false);
        }
    }

    fn add_note(&mut self, scope: &Scope, folder: &Path, text: &str, mounts: &Path) {
        let network = folder.file_name().unwrap_or_default().to_string_lossy();
        if let Some(note) = Note::parse(text) {
            let here = Path::new(note.mounts) == mounts;
            let key = (&*network, note.container_id, note.ifname);
            self.of(scope, key, note.netns, here);
        }
    }

    /// The attachment of these names, where its network is in question.
    fn of(
        &mut self,
        scope: &Scope,
        (network, container, ifname): (&str, &str, &str),
        netns: &str,
        here: bool,
    ) -> Option<&mut Claim> {
        if !scope.networks.contains(network) {
            return None;
        }
        let owner = Owner::new(network, container, ifname);
        let claim = self.by_owner.entry(owner).or_default();
        network.clone_into(&mut claim.network);
        container.clone_into(&mut claim.container);
        if !netns.is_empty() {
            claim.netns.insert((netns.into(), here));
        }
        Some(claim)
    }

    /// An interface with an attachment's name as alias is its host's end, unless it is of the kind that only limits.
    fn look_at(&mut self, links: &[LinkInfo]) {
        for link in links.iter().filter(|link| link.kind != "ifb") {
            let owner = Owner::parse(&link.alias);
            if let Some(claim) = owner.and_then(|owner| self.by_owner.get_mut(&owner)) {
                claim.has_port = true;
            }
        }
    }

    /// The attachments whose containers are gone.
    pub(super) fn gone(&self) -> BTreeSet<Owner> {
        let owners = self.by_owner.keys();
        owners
            .filter(|owner| self.is_gone(owner))
            .cloned()
            .collect()
    }

    /// Whether the container of this attachment is gone, as of now.
    pub(super) fn is_gone(&self, owner: &Owner) -> bool {
        let Some(claim) = self.by_owner.get(owner) else {
            return false;
        };
        let is_gone = |(netns, here): &(PathBuf, bool)| match here {
            true => Netns::open(netns).is_err_and(|error| error.is_gone()),
            false => is_surely_gone(netns, &self.records),
        };
        !claim.has_port && !claim.netns.is_empty() && claim.netns.iter().all(is_gone)
    }

    /// The containers that have no attachment beside these, each with its network.
    pub(super) fn containers(&self, doomed: &BTreeSet<Owner>) -> BTreeSet<(&str, &str)> {
        let of = |claim: &Claim| (claim.network.clone(), claim.container.clone());
        let others: BTreeSet<_> = self
            .by_owner
            .iter()
            .filter(|(owner, _)| !doomed.contains(owner))
            .map(|(_, claim)| of(claim))
            .collect();
        let claims = doomed.iter().filter_map(|owner| self.by_owner.get(owner));
        claims
            .filter(|claim| !others.contains(&of(claim)))
            .map(|claim| (claim.network.as_str(), claim.container.as_str()))
            .collect()
    }
}

impl Scope {
    /// The folders of the networks' reservations.
    pub(super) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let all = self.reservations.iter();
        all.flat_map(|folder| self.networks.iter().map(|network| folder.join(network)))
    }
}

fn is_port(links: &[LinkInfo], name: &str) -> bool {
    let link = links.iter().find(|link| link.name == name);
    link.is_some_and(|link| link.kind != "bridge" && link.kind != "ifb")
}

/// The texts of a folder's files, as far as they can be read, and none but root can have written them.
fn texts(folder: &Path, limit: usize) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(move |entry| bounded_file::read_trusted(&entry.path(), limit).ok())
}
