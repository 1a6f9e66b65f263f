//! A container's interface that lies on another one, the master: macvlan, ipvlan, VLAN.

use std::fmt::Debug;
use std::os::fd::AsFd;

use tweed_model::Mac;
use tweed_netlink::netns::Netns;
use tweed_netlink::{LinkInfo, Netlink, Stacked, StackedSpec};

use super::{attachment, inner, link, master, namespace};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Dns, Kind};

/// A plugin that makes such an interface.
pub(crate) struct Layered {
    /// The kernel's name of its kind.
    pub(crate) kind: &'static str,
    pub(crate) addresses: Addresses,
    /// Reads and checks the keys.
    pub(crate) read: fn(&Request<'_>) -> Result<Layer, CniError>,
}

/// Where the addresses of an interface come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// From the IPAM plugin. Without one the interface is of no use.
    Ipam,
    /// The same, but it may do without.
    IpamIfAny,
    /// The same, or from the plugin before, which then makes the master too.
    IpamOrPrevious,
}

impl Plugin for Layered {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        let layer = (self.read)(request)?;
        let ipam = match self.addresses {
            Addresses::Ipam => Some(attachment::required_ipam(request)?),
            Addresses::IpamIfAny | Addresses::IpamOrPrevious => Delegate::of_ipam(request)?,
        };
        ipam.map(|ipam| ipam.configuration(request)).transpose()?;
        Ok(Box::new(layer))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let mut layer = (self.read)(request)?;
        let given = match self.addresses {
            Addresses::IpamOrPrevious => layer.follow(request)?,
            Addresses::Ipam | Addresses::IpamIfAny => CniResult::default(),
        };
        layer.add(request, given, undo)
    }

    fn del(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        inner::del(request, removal, self.kind)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        (self.read)(request)?.check(request)
    }

    fn gc(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        inner::gc(request, removal, self.kind)
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        let layer = (self.read)(request)?;
        let ipam = Delegate::of_ipam(request)?;
        // The master is known only behind the other plugin.
        let follows = self.addresses == Addresses::IpamOrPrevious && ipam.is_none();
        if !(follows && layer.master.is_empty()) {
            layer.status()?;
        }
        ipam.map_or(Ok(()), |ipam| ipam.status(request))
    }
}

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
    fn add(
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
    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        inner::check(request, self.kind.name(), |link, netns| {
            self.check_link(link, netns)
        })
    }

    /// Whether ADD could work: a host without the master attaches nobody.
    ///
    /// # Errors
    /// Why not.
    fn status(&self) -> Result<(), CniError> {
        if !self.in_container {
            let found = link::socket().and_then(|mut host| master::find(&mut host, &self.master));
            found.map_err(|error| CniError {
                kind: Kind::NotAvailable,
                ..error
            })?;
        }
        Ok(())
    }

    /// Takes the interface of the plugin before for the master if none is named, and answers what that plugin gives.
    ///
    /// # Errors
    /// When it has made no single interface; or nobody gives an address.
    fn follow(&mut self, request: &Request<'_>) -> Result<CniResult, CniError> {
        let prev = request.conf.prev_result()?;
        if let Some(prev) = prev.as_ref().filter(|_| self.master.is_empty()) {
            self.master = only_interface(prev)?;
        }
        let given = prev.unwrap_or_default();
        if given.ips.is_empty() && Delegate::of_ipam(request)?.is_none() {
            let msg = "ipam.type is missing, and no plugin before this one gives an address";
            return Err(CniError::config(msg).details("want host-local, static, dhcp or another"));
        }
        Ok(given)
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

/// The master that another plugin has made.
fn only_interface(prev: &CniResult) -> Result<String, CniError> {
    match prev.interfaces.as_slice() {
        [only] if !only.name.is_empty() => Ok(only.name.clone()),
        _ => Err(CniError::config(
            "chained master failure. PrevResult lacks a single named interface",
        )
        .details("name the interface in the configuration: \"master\"")),
    }
}
