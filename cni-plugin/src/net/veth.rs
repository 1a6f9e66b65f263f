//! A veth pair of which one end is the container's interface. The host's end is known by name and alias, so that the
//! pair is found without the container's namespace or any record.

use std::os::fd::AsFd;

use tweed_attach::Owner;
use tweed_attach::live::discarded::is_discarded;
use tweed_model::Mac;
use tweed_netlink::netns::Netns;
use tweed_netlink::{LinkInfo, Netlink, NetlinkError, VethEnd, VethSpec};

use super::{identity, link, namespace, unlink};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::Request;
use crate::runtime::removal::Removal;
use crate::spec::{CniError, Kind};

/// How many names are tried for the host's end.
const NAMES: u8 = 10;

/// The pair that a container is to have.
pub(crate) struct Pair<'a> {
    /// The attachment that the pair is made for.
    pub(crate) owner: &'a Owner,
    pub(crate) netns: &'a Netns,
    /// The name of its end.
    pub(crate) ifname: &'a str,
    /// The hardware address of its end.
    pub(crate) mac: Option<Mac>,
    /// MTU of both, in bytes.
    pub(crate) mtu: Option<u32>,
}

impl Pair<'_> {
    /// Has `make` make the pair, and answers the host's end's name.
    ///
    /// # Errors
    /// [`Kind::Taken`] when the container has an interface of that name already.
    pub(crate) fn create(
        &self,
        netlink: &mut Netlink,
        make: impl Fn(&mut Netlink, &VethSpec<'_>) -> Result<(), NetlinkError>,
    ) -> Result<String, CniError> {
        for attempt in 0..NAMES {
            let name = identity::host_veth(self.owner, attempt);
            let spec = VethSpec {
                mtu: self.mtu,
                end: VethEnd {
                    name: &name,
                    mac: Some(identity::host_mac(self.owner)),
                    netns: None,
                },
                peer: VethEnd {
                    name: self.ifname,
                    mac: self.mac,
                    netns: Some(self.netns.as_fd()),
                },
            };
            match make(netlink, &spec) {
                Ok(()) => return Ok(name),
                Err(error) if error.is_exists() => {}
                Err(error) => {
                    return Err(CniError::from(error).context("failed to make veth pair"));
                }
            }
            // Which of the two names was taken?
            match netlink.link(&name)? {
                Some(link) if !is_ours(&link, self.owner) => {}
                host_end => return Err(self.taken(host_end.is_some())),
            }
        }
        let ifname = self.ifname;
        let msg = format!("the {NAMES} names for the host's end of {ifname} are all taken");
        Err(CniError::new(Kind::Taken, msg))
    }

    fn taken(&self, is_leftover: bool) -> CniError {
        let (ifname, path) = (self.ifname, self.netns.path().display());
        let msg = format!("container veth name ({ifname:?}) already exists in {path}");
        let maker = match is_leftover {
            true => "this plugin",
            false => "another plugin, or an earlier one of it,",
        };
        CniError::new(Kind::Taken, msg)
            .details(format!("{maker} made it; DEL that attachment first"))
    }
}

/// Removes the host's end of an attachment, and with it the container's. `false` when there is none of ours.
///
/// # Errors
/// When it is there and can't be removed.
pub(crate) fn remove(netlink: &mut Netlink, owner: &Owner) -> Result<bool, CniError> {
    let ends = host_ends(netlink, owner)?;
    ends.iter().try_for_each(|end| link::delete(netlink, end))?;
    Ok(!ends.is_empty())
}

/// Removes the interface of an attachment: by the host's end of our pair, whose name is known, or by the container's end of
/// another plugin's. One deletion removes both ends.
///
/// # Errors
/// When it is there and can't be removed.
pub(crate) fn remove_attachment(request: &Request<'_>, owner: &Owner) -> Result<(), CniError> {
    let mut netlink = link::socket()?;
    let mut found = false;
    for host_end in host_ends(&mut netlink, owner)? {
        unlink::remove(request, &mut netlink, &host_end, owner)?;
        found = true;
    }
    unlink::remove_discarded(request, &mut netlink, owner)?;
    let call = request.call;
    if found {
        return Ok(());
    }
    let Some(mut inside) = namespace::socket_at(call.netns.as_deref())? else {
        return Ok(());
    };
    match inside.link(&call.attachment.ifname)? {
        Some(end) if !end.loopback => link::delete(&mut inside, &end),
        _ => Ok(()),
    }
}

/// Removes the pairs of the network whose owners are not valid any more, and those that were set aside. One that a killed
/// ADD has not named yet is found by its owner, who has an address already.
///
/// # Errors
/// When links can't be listed; what can't be removed is noted.
pub(crate) fn retain(
    request: &Request<'_>,
    valid: &[Owner],
    removal: &mut Removal,
) -> Result<(), CniError> {
    let network = &request.conf.name;
    let mut netlink = link::socket()?;
    let is_stale = |end: &LinkInfo| {
        let owner = Owner::parse(&end.alias).filter(|owner| owner.is_in(network));
        end.kind == "veth" && owner.is_some_and(|owner| !valid.contains(&owner))
    };
    let mut stale = netlink.links()?;
    stale.retain(|end| is_discarded(end) || is_stale(end));
    removal.step(netlink.del_links(&stale).map_err(CniError::from));
    let ipam = Delegate::of_ipam_if_any(request);
    for holder in ipam.map_or(Vec::new(), |ipam| ipam.holders(request)) {
        let owner = identity::owner(network, &holder);
        if !valid.contains(&owner) {
            removal.step(remove(&mut netlink, &owner).map(drop));
        }
    }
    Ok(())
}

/// The host's ends of an attachment. There is one, but for what killed ADDs may have left.
fn host_ends(netlink: &mut Netlink, owner: &Owner) -> Result<Vec<LinkInfo>, CniError> {
    let mut ends = Vec::new();
    for attempt in 0..NAMES {
        match netlink.link(&identity::host_veth(owner, attempt))? {
            None => break,
            Some(end) if is_ours(&end, owner) => ends.push(end),
            Some(_) => {}
        }
    }
    Ok(ends)
}

/// An ADD that was killed right after the pair was made has not named the owner yet.
fn is_ours(link: &LinkInfo, owner: &Owner) -> bool {
    link.alias == owner.to_string()
        || (link.alias.is_empty() && link.mac == Some(identity::host_mac(owner)))
}
