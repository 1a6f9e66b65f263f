//! A container's interface that lies on another one, the master: macvlan, ipvlan, VLAN.

use std::os::fd::AsFd;

use tweed_model::Mac;
use tweed_netlink::netns::Netns;
use tweed_netlink::{LinkInfo, Netlink, Stacked, StackedSpec};

use super::{inner, link, master, namespace};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::Request;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Dns, Kind};

/// An interface as a configuration wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// The master's name; empty for the interface of the default route.
    pub(crate) master: String,
    /// The master is in the container, not on the host.
    pub(crate) in_container: bool,
    pub(crate) kind: Stacked,
    /// Hardware address; the kernel's choice if none.
    pub(crate) mac: Option<Mac>,
    /// MTU in bytes; the master's if none.
    pub(crate) mtu: Option<u32>,
    /// Name servers in place of those of the IPAM plugin.
    pub(crate) dns: Option<Dns>,
}

impl Layer {
    /// Attaches the container. `given` has addresses and routes where no IPAM plugin gives any.
    ///
    /// # Errors
    /// There is no such master, or the first step that failed.
    pub(crate) fn add(
        &self,
        request: &Request<'_>,
        given: CniResult,
        undo: &mut Undo,
    ) -> Result<CniResult, CniError> {
        let netns = namespace::open(request.call)?;
        let ipam = Delegate::of_ipam(request)?;
        let mut place = self.place(&netns)?;
        let master = master::find(&mut place, &self.master)?;
        master::check_mtu(&master, self.mtu)?;
        let job = inner::Job {
            request,
            ipam: ipam.as_ref(),
            netns: &netns,
            kind: self.kind.name(),
            given,
            dns: self.dns.as_ref(),
        };
        job.add(undo, &mut |_, name| {
            let spec = StackedSpec {
                name,
                parent: master.index,
                kind: self.kind,
                mac: self.mac,
                mtu: self.mtu,
                netns: Some(netns.as_fd()),
            };
            let made = place.add_stacked(&spec);
            made.map_err(|error| self.explain(error, &master))
        })
    }

    /// Compares the interface with the previous result and with this.
    ///
    /// # Errors
    /// The first thing that is not as it was.
    pub(crate) fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        inner::check(request, self.kind.name(), |link, netns| {
            self.check_link(link, netns)
        })
    }

    /// Whether ADD could work: a host without the master attaches nobody.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        if !self.in_container {
            let found = link::socket().and_then(|mut host| master::find(&mut host, &self.master));
            found.map_err(|error| CniError {
                kind: Kind::NotAvailable,
                ..error
            })?;
        }
        let ipam = Delegate::of_ipam(request)?;
        ipam.map_or(Ok(()), |ipam| ipam.status(request))
    }

    /// A socket where the master is.
    fn place(&self, netns: &Netns) -> Result<Netlink, CniError> {
        match self.in_container {
            true => Ok(netns.netlink()?),
            false => link::socket(),
        }
    }

    fn explain(&self, error: tweed_netlink::NetlinkError, master: &LinkInfo) -> CniError {
        let (kind, errno) = (self.kind.name(), error.errno);
        let is_taken = error.is_exists();
        let error = CniError::from(error).context(format!("failed to create {kind}"));
        match self.kind {
            Stacked::Vlan(id) if is_taken => {
                let name = &master.name;
                error.details(format!("another interface has VLAN {id} of {name} already"))
            }
            _ => inner::explain(error, kind, errno),
        }
    }

    fn check_link(&self, link: &LinkInfo, netns: &Netns) -> Result<(), CniError> {
        let is_same = match (link.stacked, self.kind) {
            // The queue's length is that of all on the same master.
            (Some(Stacked::MacVlan { mode: is, .. }), Stacked::MacVlan { mode, .. }) => is == mode,
            (is, wanted) => is == Some(wanted),
        };
        if !is_same {
            let (name, is, wanted) = (&link.name, link.stacked, self.kind);
            let msg = format!("{name} is {is:?}, configured is {wanted:?}");
            return Err(CniError::drift(msg));
        }
        // The default route may have moved since.
        if self.master.is_empty() {
            return Ok(());
        }
        let name = &self.master;
        let master = master::named(&mut self.place(netns)?, name)?;
        let master = master.ok_or_else(|| CniError::drift(format!("master {name} not found")))?;
        match link.link == Some(master.index) {
            true => Ok(()),
            false => Err(CniError::drift(format!(
                "{} does not lie on {name}",
                link.name
            ))),
        }
    }
}
