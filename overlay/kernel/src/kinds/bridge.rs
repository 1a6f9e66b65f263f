//! Bridges of containers. The plugin makes them; here they are restored in the same form.

use tweed_host::{KernelError, sysctl};
use tweed_netlink::{BridgeSpec, LinkChange, LinkInfo};
use tweed_state::attached::PodBridge;

use super::refusal::{hosts_own, refused};
use crate::linux::Linux;

/// `None` if it is no bridge.
pub(crate) fn read(info: &LinkInfo) -> Option<PodBridge> {
    let bridge = info.bridge.filter(|_| info.kind == "bridge")?;
    Some(PodBridge {
        mac: info.mac,
        mtu: Some(info.mtu),
        promisc: info.promisc,
        vlan_filtering: bridge.vlan_filtering,
        up: info.up,
    })
}

/// Makes a bridge, or puts one right that is there already.
pub(crate) fn make(linux: &mut Linux, name: &str, bridge: &PodBridge) -> Result<(), KernelError> {
    no_own(linux, name)?;
    let spec = BridgeSpec {
        mtu: bridge.mtu,
        mac: bridge.mac,
        vlan_filtering: bridge.vlan_filtering,
        default_pvid: None,
    };
    linux.devices.forget(name);
    match linux.netlink.add_bridge(name, &spec) {
        // As the plugin does, where the kernel has IPv6.
        Ok(()) => drop(sysctl::write(
            &format!("net/ipv6/conf/{name}/accept_ra"),
            "0",
        )),
        // A plugin was faster, or something else has the name.
        Err(error) if error.is_exists() => {}
        Err(error) => return Err(error.into()),
    }
    put(linux, name, bridge)
}

fn no_own(linux: &Linux, name: &str) -> Result<(), KernelError> {
    match hosts_own(linux, name) {
        true => Err(refused(
            name,
            "a record calls it a bridge of containers, and it is the host's: remove the record",
        )),
        false => Ok(()),
    }
}

/// Sends what differs.
pub(crate) fn put(linux: &mut Linux, name: &str, want: &PodBridge) -> Result<(), KernelError> {
    no_own(linux, name)?;
    let Some(there) = linux.netlink.link(name)? else {
        return Err(refused(name, "it was removed again"));
    };
    let Some(have) = read(&there) else {
        return Err(refused(
            name,
            "an interface of this name is no bridge: remove it",
        ));
    };
    let change = LinkChange {
        mac: want.mac.filter(|_| want.mac != have.mac),
        mtu: want.mtu.filter(|_| want.mtu != have.mtu),
        promisc: (want.promisc && !have.promisc).then_some(true),
        up: (want.up && !have.up).then_some(true),
        ..LinkChange::default()
    };
    let any = change.mac.is_some() || change.mtu.is_some();
    if any || change.promisc.is_some() || change.up.is_some() {
        linux.netlink.set_link(there.dev(), &change)?;
    }
    if want.vlan_filtering && !have.vlan_filtering {
        linux.netlink.set_vlan_filtering(there.dev(), true)?;
    }
    Ok(())
}
