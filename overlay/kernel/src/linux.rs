//! The kernel of the calling thread's network namespace, over netlink.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tweed_attach::live::Records;
use tweed_host::KernelError;
use tweed_netlink::{Dev, Ethtool, LinkInfo, Netlink, NetlinkError};

use super::attached::AttachmentState;
use super::connected::Connected;
use super::firewall::Firewall;
use super::ledger::Ledger;
use super::others::{Ask, Others};

/// The real kernel. To be opened and used on one thread: netlink sockets stay in the namespace they were made in, but
/// sysctls are those of the thread.
#[derive(Debug)]
pub struct Linux {
    pub(super) netlink: Netlink,
    pub(super) firewall: Firewall,
    pub(super) devices: Devices,
    pub(super) ledger: Arc<Ledger>,
    pub(super) connected: Connected,
    pub(super) others: Others,
    /// What is looked after of containers' attachments, where that was asked for.
    pub(super) attachment_state: Option<AttachmentState>,
    /// Opened when it is first needed: most nodes have no choice of features.
    ethtool: Option<Ethtool>,
}

/// Indexes of interfaces by name, so that thousands of operations need one look-up. Dropped when links change.
#[derive(Debug, Default)]
pub(super) struct Devices(BTreeMap<String, u32>);

impl Linux {
    /// Opens sockets in the namespace of the calling thread.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            netlink: Netlink::open()?,
            firewall: Firewall::open()?,
            devices: Devices::default(),
            ledger: Arc::new(Ledger::default()),
            connected: Connected::default(),
            others: Others::default(),
            attachment_state: None,
            ethtool: None,
        })
    }

    /// How many requests were sent to the packet filter so far.
    #[cfg(any(test, feature = "test-util"))]
    pub fn filter_requests(&self) -> u32 {
        self.firewall.requests()
    }

    /// Heeds the agents of other networks on this host, of which this tells whether they run.
    #[must_use]
    pub fn beside(mut self, others: Ask) -> Self {
        self.others.ask_by(others);
        self
    }

    /// Looks after containers' attachments, of which there are these records.
    #[must_use]
    pub fn with_attachments(mut self, records: Records) -> Self {
        self.attachment_state = Some(AttachmentState::by(records));
        self
    }

    /// Runs a request on an interface by name; `None` if there is no such interface. A cached index that has become
    /// stale is looked up afresh, once.
    pub(super) fn on_dev<T>(
        &mut self,
        name: &str,
        mut request: impl FnMut(&mut Netlink, Dev<'_>) -> Result<T, NetlinkError>,
    ) -> Result<Option<T>, KernelError> {
        for fresh in [false, true] {
            if fresh {
                self.devices.forget(name);
            }
            let Some(index) = self.index_of(name)? else {
                return Ok(None);
            };
            match request(&mut self.netlink, Dev { index, name }) {
                Err(error) if error.errno == libc::ENODEV => {}
                result => return Ok(Some(result?)),
            }
        }
        Ok(None)
    }

    pub(super) fn ethtool(&mut self) -> Result<&mut Ethtool, NetlinkError> {
        match &mut self.ethtool {
            Some(ethtool) => Ok(ethtool),
            none => Ok(none.insert(Ethtool::open()?)),
        }
    }

    fn index_of(&mut self, name: &str) -> Result<Option<u32>, KernelError> {
        if let Some(index) = self.devices.0.get(name) {
            return Ok(Some(*index));
        }
        let link = self.netlink.link(name)?;
        if let Some(link) = &link {
            self.note(link);
        }
        Ok(link.map(|link| link.index))
    }

    /// Remembers an interface's index, for requests, and for the monitor if it is one of ours.
    pub(super) fn note(&mut self, link: &LinkInfo) {
        self.devices.note(link);
        let mut books = self.ledger.lock();
        if books.scope.link_names.contains(&link.name) {
            books.links.insert(link.index, link.name.clone());
        }
    }
}

/// The entries of an interface; none if it is gone by now.
pub(super) fn or_none<T>(list: Result<Vec<T>, NetlinkError>) -> Result<Vec<T>, NetlinkError> {
    match list {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        list => list,
    }
}

impl Devices {
    pub(super) fn note(&mut self, link: &LinkInfo) {
        self.0.insert(link.name.clone(), link.index);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The name of an interface that was noted.
    pub(super) fn name_of(&self, index: u32) -> Option<&str> {
        self.0
            .iter()
            .find(|(_, noted)| **noted == index)
            .map(|(name, _)| name.as_str())
    }
}
