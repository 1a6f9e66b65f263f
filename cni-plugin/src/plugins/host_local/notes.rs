//! Which network namespace an address was reserved for: in `.netns/`, a file `<address>` beside the one of Go's format.
//!
//! A container that dies without DEL keeps its address for the rest of the boot, and a node whose runtime crashes now
//! and then runs out of them. By the note a namespace that is gone is noticed, and its address given to another.
//!
//! A path means something in its mount namespace only, so that a note names it, and counts there only. Where
//! the host's end of the container's interface is still there, so is its namespace, whatever is at the path. A note is
//! of its holder: Go's plugin, which writes no notes, may have given the address to another container since.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tweed_attach::reservation::{NOTES, Note};
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_host::whole_file::OnDisk;
use tweed_netlink::Netlink;
use tweed_netlink::netns::Netns;

use super::holder::Holder;
use crate::net::identity;
use crate::spec::Attachment;
use crate::state::file;

/// The longest note that is read, in bytes: a path has 4 KiB at most.
const LONGEST: usize = 8 * KIB;

/// The notes of one network's folder. All of them are best effort: without one no container is taken for gone.
pub(super) struct Notes {
    dir: PathBuf,
}

impl Notes {
    /// The notes of a folder, whether there are any or not.
    pub(super) fn of(network_dir: &Path) -> Self {
        Self {
            dir: network_dir.join(NOTES),
        }
    }

    /// Notes where an address is for.
    pub(super) fn add(&self, holder: &Holder, addr: IpAddr, netns: Option<&Path>) {
        // Some callers reserve for a namespace that they make later, or for none: what never was there is not gone.
        let netns = netns.filter(|netns| Netns::open(*netns).is_ok());
        let text = netns.and_then(|netns| render(holder, netns));
        let Some(text) = text.filter(|_| self.is_made()) else {
            return self.remove(addr);
        };
        let _ = file::replace(
            &self.at(addr),
            &self.dir.join(".unfinished"),
            &text,
            OnDisk::Nothing,
        );
    }

    /// Forgets an address.
    pub(super) fn remove(&self, addr: IpAddr) {
        let _ = fs::remove_file(self.at(addr));
    }

    /// Forgets all but these: when Go's plugin releases an address, its note stays.
    pub(super) fn keep(&self, addrs: &BTreeSet<IpAddr>) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let addr = name.to_str().and_then(|name| name.parse().ok());
            if !addr.is_some_and(|addr| addrs.contains(&addr)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Whether it is sure that the namespace is gone which this holder had the address for.
    pub(super) fn is_gone(&self, network: &str, holder: &Holder, addr: IpAddr) -> bool {
        let Ok(text) = bounded_file::read_text(&self.at(addr), Links::Refused, LONGEST) else {
            return false;
        };
        let netns = Note::parse(&text).map(|note| Path::new(note.netns));
        let Some(netns) = netns.filter(|netns| render(holder, netns).as_ref() == Some(&text))
        else {
            return false;
        };
        Netns::open(netns).is_err_and(|error| error.is_gone()) && !has_interface(network, holder)
    }

    fn at(&self, addr: IpAddr) -> PathBuf {
        self.dir.join(addr.to_string())
    }

    fn is_made(&self) -> bool {
        self.dir.is_dir() || fs::create_dir(&self.dir).is_ok()
    }
}

fn render(holder: &Holder, netns: &Path) -> Option<String> {
    let mounts = fs::read_link("/proc/thread-self/ns/mnt").ok()?;
    let note = Note {
        container_id: &holder.container_id,
        ifname: holder.ifname.as_deref()?,
        mounts: mounts.to_str()?,
        netns: netns.to_str().filter(|_| netns.is_absolute())?,
    };
    note.render()
}

/// Whether the host's end of the pair is there that `bridge` has made for it. If the kernel doesn't answer, it may be.
fn has_interface(network: &str, holder: &Holder) -> bool {
    let attachment = Attachment {
        container_id: holder.container_id.clone(),
        ifname: holder.ifname.clone().unwrap_or_default(),
    };
    let name = identity::host_veth(&identity::owner(network, &attachment), 0);
    !Netlink::open().is_ok_and(|mut host| matches!(host.link(&name), Ok(None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_note_of_this_holder_and_mount_namespace_counts() {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notes::of(dir.path());
        let addr: IpAddr = "10.0.0.2".parse().unwrap();
        let holder = |id: &str| Holder {
            container_id: id.into(),
            ifname: Some("eth0".into()),
        };
        let (own, netns) = (Path::new("/proc/self/ns/net"), dir.path().join("netns"));
        let is_gone = |id: &str| notes.is_gone("net", &holder(id), addr);
        notes.add(&holder("a"), addr, Some(&netns));
        assert!(!is_gone("a"), "there never was one");
        std::os::unix::fs::symlink(own, &netns).unwrap();
        notes.add(&holder("a"), addr, Some(&netns));
        assert!(!is_gone("a"));
        fs::remove_file(&netns).unwrap();
        assert!(is_gone("a"));
        fs::write(&netns, "").unwrap();
        assert!(is_gone("a"), "the mount is gone and has left its file");
        assert!(!is_gone("b"), "a note of an earlier holder");
        let text = fs::read_to_string(notes.at(addr)).unwrap();
        fs::write(notes.at(addr), text.replace("mnt:[", "mnt:[1")).unwrap();
        assert!(!is_gone("a"), "a path elsewhere");
        notes.add(&holder("a"), addr, Some(own));
        assert!(notes.at(addr).exists());
        notes.add(&holder("a"), addr, None);
        assert!(!notes.at(addr).exists());
    }
}
