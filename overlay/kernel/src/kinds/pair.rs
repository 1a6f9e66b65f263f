//! Pairs that connect a VLAN's gateway with a bridge. The plugin makes them; here they are restored in the same form.

use tweed_host::{KernelError, sysctl};
use tweed_netlink::{LinkChange, LinkInfo, VethEnd, VethSpec};
use tweed_state::attached::{Pair, PodPort};

use super::port;
use super::refusal::refused;
use crate::linux::Linux;

/// The end that has the gateway.
pub(crate) fn read(info: &LinkInfo) -> Pair {
    Pair {
        port: String::new(),
        mac: info.mac,
        up: info.up,
    }
}

/// Makes the pair, or puts right what is there of it.
pub(crate) fn put(
    linux: &mut Linux,
    name: &str,
    pair: &Pair,
    port: &PodPort,
) -> Result<(), KernelError> {
    if linux.netlink.link(name)?.is_none() {
        make(linux, name, pair, port)?;
    }
    port::put(linux, &pair.port, port)?;
    let Some(there) = linux.netlink.link(name)? else {
        return Err(refused(name, "it was removed again"));
    };
    let change = LinkChange {
        mac: pair.mac.filter(|_| pair.mac != there.mac),
        up: Some(true),
        ..LinkChange::default()
    };
    Ok(linux.netlink.set_link(there.dev(), &change)?)
}

fn make(linux: &mut Linux, name: &str, pair: &Pair, port: &PodPort) -> Result<(), KernelError> {
    let bridge = port.bridge.as_deref().unwrap_or_default();
    let Some(bridge) = linux.netlink.link(bridge)? else {
        return Err(refused(name, &format!("there is no bridge {bridge}")));
    };
    let end = |name, mac| VethEnd {
        name,
        mac,
        netns: None,
    };
    let spec = VethSpec {
        mtu: Some(bridge.mtu),
        end: end(&pair.port, None),
        peer: end(name, pair.mac),
    };
    linux.devices.forget(name);
    match linux.netlink.add_veth_port(&spec, bridge.dev()) {
        // A plugin was faster.
        Err(error) if !error.is_exists() => return Err(error.into()),
        _ => {}
    }
    // As the plugin does, where the kernel has IPv6.
    let _ = sysctl::write(&format!("net/ipv6/conf/{name}/accept_ra"), "0");
    Ok(())
}
