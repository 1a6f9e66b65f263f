//! An interface that is in the container alone, without another end on the host.
//!
//! It is made in the container's namespace under a name that follows from its owner, and then gets its own name, with the
//! owner as alias, in one request: no name on the host is taken, and what a killed process leaves is known for ours.

use std::path::Path;

use tweed_attach::{Owner, Record};
use tweed_netlink::netns::Netns;
use tweed_netlink::{LinkChange, LinkInfo, Netlink};

use super::container::{self, Behaviour};
use super::{addresses, attachment, identity, link, namespace};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::Request;
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Context, Dns};
use crate::state::records::{self, state_dir};

/// As the reference leaves them: the network may have routers, and other holders of an address.
pub(crate) const BEHAVIOUR: Behaviour = Behaviour {
    accept_ra: true,
    dad: true,
};

/// Makes the interface, by a socket of the container, under a name.
pub(crate) type Make<'m> = &'m mut dyn FnMut(&mut Netlink, &str) -> Result<(), CniError>;

/// One ADD.
pub(crate) struct Job<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) ipam: Option<&'a Delegate>,
    pub(crate) netns: &'a Netns,
    /// The kernel's name of its kind.
    pub(crate) kind: &'static str,
    /// Addresses and routes where no IPAM plugin gives any.
    pub(crate) given: CniResult,
    /// Name servers in place of those of the IPAM plugin.
    pub(crate) dns: Option<&'a Dns>,
}

impl Job<'_> {
    /// Attaches the container. What an ADD of this very attachment has left is removed first, once.
    ///
    /// # Errors
    /// The first step that failed.
    pub(crate) fn add(&self, undo: &mut Undo, make: Make<'_>) -> Result<CniResult, CniError> {
        match undo.attempt(|undo| self.attach(undo, make)) {
            Err(error) if self.clear_leftovers(&error)? => self.attach(undo, make),
            other => other,
        }
    }

    fn attach(&self, undo: &mut Undo, make: Make<'_>) -> Result<CniResult, CniError> {
        let ifname = &self.request.call.attachment.ifname;
        self.create(undo, make)?;
        // Not before: DHCP works through the interface.
        let mut result = match self.ipam {
            Some(ipam) => attachment::addresses(self.request, ipam, undo)?,
            None => self.given.clone(),
        };
        let families = addresses::families(&result);
        let mut inside = container::enter(self.netns, ifname, &families, BEHAVIOUR)?;
        let link = link::existing(&mut inside, ifname)?;
        container::configure(&mut inside, &link, &result, BEHAVIOUR)?;
        attachment::write_down(self.request, self.netns, undo)?;
        result.interfaces = vec![link::entry(&link, &self.netns.path().to_string_lossy())];
        for ip in &mut result.ips {
            ip.interface = Some(0);
        }
        if let Some(dns) = self.dns {
            result.dns = dns.clone();
        }
        Ok(result)
    }

    fn create(&self, undo: &mut Undo, make: Make<'_>) -> Result<(), CniError> {
        let owner = self.owner();
        let ifname = &self.request.call.attachment.ifname;
        let mut inside = self.netns.netlink()?;
        if inside.link(ifname)?.is_some() {
            return Err(link::taken(ifname, self.netns));
        }
        let unnamed = identity::unnamed(&owner);
        if let Some(left) = inside.link(&unnamed)? {
            link::delete(&mut inside, &left)?;
        }
        let (call, kind) = (self.request.call.clone(), self.kind);
        let (of, name) = (owner.clone(), ifname.clone());
        undo.push(move || remove(call.netns.as_deref(), &name, (&of, kind), false).map(drop));
        make(&mut inside, &unnamed)?;
        let link = link::existing(&mut inside, &unnamed)?;
        let alias = owner.to_string();
        let named = LinkChange {
            name: Some(ifname),
            alias: Some(&alias),
            ..LinkChange::default()
        };
        match inside.set_link(link.dev(), &named) {
            Err(error) if error.is_exists() => Err(link::taken(ifname, self.netns)),
            other => other.context(|| format!("failed to rename {kind} to {ifname:?}")),
        }
    }

    fn clear_leftovers(&self, error: &CniError) -> Result<bool, CniError> {
        attachment::clear_leftovers(self.request, self.ipam, error, || {
            let call = self.request.call;
            let (owner, ifname) = (self.owner(), &call.attachment.ifname);
            remove(call.netns.as_deref(), ifname, (&owner, self.kind), false)
        })
    }

    fn owner(&self) -> Owner {
        identity::owner(&self.request.conf.name, &self.request.call.attachment)
    }
}

/// DEL of an attachment whose interface is of a kind.
///
/// # Errors
/// As [`attachment::del`].
pub(crate) fn del(
    request: &Request<'_>,
    removal: &mut Removal,
    kind: &str,
) -> Result<(), CniError> {
    let call = request.call;
    attachment::del(request, removal, |owner| {
        let ifname = &call.attachment.ifname;
        remove(call.netns.as_deref(), ifname, (owner, kind), true).map(drop)
    })
}

/// GC, by the records: interfaces of containers that are gone are gone too.
///
/// # Errors
/// As [`attachment::gc`].
pub(crate) fn gc(request: &Request<'_>, removal: &mut Removal, kind: &str) -> Result<(), CniError> {
    let conf = request.conf;
    attachment::gc(request, removal, |valid, removal| {
        for (_, record) in records::all(&state_dir(conf), Record::parse) {
            let owner = record.owner();
            if owner.is_in(&conf.name) && !valid.contains(&owner) {
                let netns = Some(Path::new(&record.netns)).filter(|_| !record.netns.is_empty());
                let removed = remove(netns, &record.ifname, (&owner, kind), false);
                removal.step(removed.map(drop));
            }
        }
        Ok(())
    })
}

/// CHECK: the interface is up, of its kind, and has what the previous result gives it; `more` looks at the rest.
///
/// # Errors
/// The first thing that is not as it was.
pub(crate) fn check(
    request: &Request<'_>,
    kind: &str,
    more: impl FnOnce(&LinkInfo, &Netns) -> Result<(), CniError>,
) -> Result<(), CniError> {
    let Request { call, conf, .. } = request;
    if let Some(ipam) = Delegate::of_ipam(request)? {
        ipam.check(request)?;
    }
    let prev = conf.required_prev_result()?;
    let netns = namespace::open(call)?;
    let mut inside = netns.netlink()?;
    let entry = attachment::interface(&prev, call)?;
    let link = link::check(&mut inside, entry, kind)?;
    if !link.up {
        let msg = format!("interface {} is down", link.name);
        return Err(CniError::drift(msg));
    }
    more(&link, &netns)?;
    container::check(&mut inside, &link, &prev)
}

/// Removes the interface of an attachment, also one that its container has renamed, and answers whether there was one.
/// `others` says whether one that bears no owner goes too, as Go's plugin makes them.
fn remove(
    netns: Option<&Path>,
    ifname: &str,
    (owner, kind): (&Owner, &str),
    others: bool,
) -> Result<bool, CniError> {
    let Some(mut inside) = namespace::socket_at(netns)? else {
        return Ok(false);
    };
    let (alias, unnamed) = (owner.to_string(), identity::unnamed(owner));
    let mut found = false;
    for link in inside.links()? {
        let is_nobodys = others && link.alias.is_empty() && link.name == ifname;
        let is_ours = link.alias == alias || link.name == unnamed || is_nobodys;
        if is_ours && link.kind == kind {
            link::delete(&mut inside, &link)?;
            found = true;
        }
    }
    Ok(found)
}

/// Says what to do where the kernel has no such kind of interface.
pub(crate) fn explain(error: CniError, kind: &str, errno: i32) -> CniError {
    match errno {
        nix::libc::EOPNOTSUPP => {
            error.details(format!("this kernel has no {kind}: load its module"))
        }
        _ => error,
    }
}
