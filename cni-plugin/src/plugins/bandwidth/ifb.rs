//! The device to which what a container sends is led. It has the name that Go's plugin gives it, so that either plugin
//! removes it. That name knows no interface: the second interface of a container has a name of its own. The alias says
//! which attachment it is.

use tweed_attach::{Owner, sha512_hex};
use tweed_netlink::{LinkChange, LinkInfo, Netlink};

use crate::net::link;
use crate::spec::{Attachment, CniError, Context, Kind};

const KIND: &str = "ifb";

/// The names that an attachment's device may have.
#[derive(Clone)]
pub(super) struct Names {
    owner: Owner,
    names: [String; 2],
}

impl Names {
    pub(super) fn of(network: &str, attachment: &Attachment, owner: &Owner) -> Self {
        let name = |text: &str| format!("bwp{}", sha512_hex(text, 12));
        let container = &attachment.container_id;
        Self {
            owner: owner.clone(),
            names: [
                name(&format!("{network}{container}")),
                name(&owner.to_string()),
            ],
        }
    }

    /// The attachment.
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The attachment's device, if it has one.
    pub(super) fn find(&self, netlink: &mut Netlink) -> Result<Option<LinkInfo>, CniError> {
        for name in &self.names {
            let found = netlink.link(name)?;
            let found = found.filter(|device| self.may_be(device));
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Has a device that is up, made if need be.
    ///
    /// # Errors
    /// When both names are another's, or the kernel refuses.
    pub(super) fn ensure(&self, netlink: &mut Netlink, mtu: u32) -> Result<LinkInfo, CniError> {
        if let Some(device) = self.find(netlink)? {
            self.settle(netlink, &device, mtu)?;
            return Ok(device);
        }
        for name in &self.names {
            match netlink.add_ifb(name, mtu) {
                Ok(()) => {
                    let device = link::existing(netlink, name)?;
                    self.settle(netlink, &device, mtu)?;
                    return Ok(device);
                }
                Err(error) if error.is_exists() => {}
                Err(error) => return Err(CniError::from(error).context("adding link")),
            }
        }
        let [first, second] = &self.names;
        let msg = format!("interfaces {first} and {second} are another's");
        Err(CniError::new(Kind::Taken, msg).details("what the container sends can't be limited"))
    }

    /// A device without an alias is Go's, or that of an ADD that was killed.
    fn may_be(&self, device: &LinkInfo) -> bool {
        let is_named = device.alias == self.owner.to_string();
        device.kind == KIND && (device.alias.is_empty() || is_named)
    }

    fn settle(&self, netlink: &mut Netlink, device: &LinkInfo, mtu: u32) -> Result<(), CniError> {
        let alias = self.owner.to_string();
        let change = LinkChange {
            alias: (device.alias != alias).then_some(&alias),
            mtu: (device.mtu != mtu).then_some(mtu),
            up: Some(true),
            ..LinkChange::default()
        };
        netlink
            .set_link(device.dev(), &change)
            .context(|| "set up the device for what the container sends")
    }
}

/// All devices of the kind.
pub(super) fn all(netlink: &mut Netlink) -> Result<Vec<LinkInfo>, CniError> {
    let links = netlink.links()?;
    Ok(links.into_iter().filter(|link| link.kind == KIND).collect())
}
