//! VXLAN devices.

use std::io;
use std::net::Ipv4Addr;

use tweed_host::KernelError;
use tweed_netlink::{LinkInfo, VxlanSpec};
use tweed_state::{Link, LinkKind, Vxlan};

use super::holder;
use crate::linux::Linux;

/// A device that carries unicast by static entries.
pub(super) fn read(info: &LinkInfo, underlay: String) -> Option<LinkKind> {
    let vxlan = info.vxlan.as_ref().filter(|vxlan| !vxlan.foreign)?;
    Some(LinkKind::Vxlan(Vxlan {
        vni: vxlan.vni,
        port: vxlan.port,
        local: vxlan.local.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        underlay,
        learning: vxlan.learning,
        gbp: vxlan.gbp,
    }))
}

pub(super) fn make(
    linux: &mut Linux,
    what: &str,
    name: &str,
    link: &Link,
    vxlan: &Vxlan,
) -> Result<(), KernelError> {
    let created = linux.on_dev(&vxlan.underlay, |netlink, underlay| {
        let spec = VxlanSpec {
            vni: vxlan.vni,
            port: vxlan.port,
            local: vxlan.local,
            underlay: underlay.index,
            learning: vxlan.learning,
            gbp: vxlan.gbp,
            mac: link.mac,
            mtu: link.mtu,
        };
        match netlink.add_vxlan(name, &spec) {
            // Either the name is taken, perhaps by just this; or the VNI and port are, under another name.
            Err(error) if error.is_exists() => match netlink.link(name)? {
                Some(there) if is_as(&there, &spec) => Ok(()),
                _ => Err(error),
            },
            result => result,
        }
    })?;
    created.ok_or_else(|| KernelError {
        what: what.to_owned(),
        source: io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no interface {}", vxlan.underlay),
        ),
    })
}

/// Whether a device has the attributes that can only be had by making it anew.
fn is_as(there: &LinkInfo, spec: &VxlanSpec) -> bool {
    there.vxlan.as_ref().is_some_and(|vxlan| {
        let same = (vxlan.vni, vxlan.port, vxlan.link) == (spec.vni, spec.port, spec.underlay);
        let switches = (vxlan.learning, vxlan.gbp) == (spec.learning, spec.gbp);
        same && switches && vxlan.local == Some(spec.local) && !vxlan.foreign
    })
}

/// The owner of the port, where that is why the device can't be made or brought up.
pub(super) fn obstacle(
    linux: &mut Linux,
    name: &str,
    vxlan: &Vxlan,
    error: &io::Error,
) -> Option<String> {
    let taken = [io::ErrorKind::AlreadyExists, io::ErrorKind::AddrInUse];
    let is_taken = taken.contains(&error.kind());
    is_taken
        .then(|| holder::of_vxlan(&mut linux.netlink, name, vxlan.vni, vxlan.port))
        .flatten()
}
