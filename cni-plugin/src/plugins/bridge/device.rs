//! The bridge itself: made once, shared by all containers of the host, never removed.

use std::path::PathBuf;

use tweed_host::bounded_file::{self, KIB, Links};
use tweed_model::{Family, Mac};
use tweed_netlink::{BridgeSpec, LinkChange, LinkInfo, Netlink, NetlinkError};

use super::config::BridgeConfig;
use crate::net::identity::hash;
use crate::net::sysctl::{of_interface, set_if_there};
use crate::spec::{CniError, Context, Kind};

/// The bridge, made if it isn't there, up and as the configuration wants it.
///
/// # Errors
/// When the name belongs to something else, or the bridge can't be as wanted without harm to others.
pub(super) fn ensure(netlink: &mut Netlink, config: &BridgeConfig) -> Result<LinkInfo, CniError> {
    let name = config.bridge.as_str();
    let what = || format!("failed to create bridge {name:?}");
    let bridge = match netlink.link(name).context(what)? {
        Some(bridge) => bridge,
        None => create(netlink, config).context(what)?,
    };
    if bridge.kind != "bridge" {
        let msg = format!("{name:?} already exists but is not a bridge");
        return Err(CniError::new(Kind::Conflict, msg)
            .details("name another bridge in the configuration, or remove that interface"));
    }
    filter_vlans(netlink, config, &bridge)?;
    let change = LinkChange {
        up: (!bridge.up).then_some(true),
        promisc: (config.promisc && !bridge.promisc).then_some(true),
        ..LinkChange::default()
    };
    if change.up.is_some() || change.promisc.is_some() {
        netlink.set_link(bridge.dev(), &change).context(what)?;
    }
    Ok(bridge)
}

/// With an address from the start, the bridge keeps it. Without, it would take the lowest of its ports', and every
/// container's ARP cache would be wrong whenever a container comes or goes.
fn create(netlink: &mut Netlink, config: &BridgeConfig) -> Result<LinkInfo, CniError> {
    let name = config.bridge.as_str();
    let spec = BridgeSpec {
        mtu: config.mtu,
        mac: Some(bridge_mac(name)),
        vlan_filtering: config.vlans.is_some(),
        default_pvid: None,
    };
    match netlink.add_bridge(name, &spec) {
        // Another container's ADD was faster.
        Err(error) if !error.is_exists() => return Err(without_vlans(error)),
        _ => {}
    }
    let accept_ra = of_interface(Family::V6, name, "accept_ra");
    set_if_there(&accept_ra, "0");
    if let Some(bridge) = netlink.link(name)? {
        return Ok(bridge);
    }
    Err(match netlink.link_by_altname(name)? {
        Some(LinkInfo { name: other, .. }) => {
            let msg = format!("{name:?} is an alternative name of interface {other}");
            let remedy = format!("take it away: ip link property del dev {other} altname {name}");
            CniError::new(Kind::Conflict, msg).details(remedy)
        }
        None => CniError::failed(format!("bridge {name} was removed while it was made")),
    })
}

/// Whether the bridge surely keeps its address: it has the one that we give at creation. Another bridge may have been
/// told to keep its own, which the kernel doesn't report.
pub(super) fn is_pinned(bridge: &LinkInfo) -> bool {
    bridge.mac == Some(bridge_mac(&bridge.name))
}

/// Makes a bridge keep the address that it has now.
pub(super) fn pin(netlink: &mut Netlink, bridge: &LinkInfo) -> Result<(), CniError> {
    let same = LinkChange {
        mac: bridge.mac,
        ..LinkChange::default()
    };
    Ok(netlink.set_link(bridge.dev(), &same)?)
}

/// The same on each start of this host, different between hosts and bridges.
fn bridge_mac(name: &str) -> Mac {
    let machine = ["/etc/machine-id", "/proc/sys/kernel/random/boot_id"]
        .map(PathBuf::from)
        .iter()
        .find_map(|path| bounded_file::read_text(path, Links::Followed, KIB).ok())
        .unwrap_or_default();
    let netns = std::fs::read_link("/proc/thread-self/ns/net").unwrap_or_default();
    let [_, _, bytes @ ..] = hash(&[&machine, &netns.to_string_lossy(), name]).to_be_bytes();
    Mac::local(bytes)
}

/// A bridge that doesn't filter VLANs would join what the configuration separates.
fn filter_vlans(
    netlink: &mut Netlink,
    config: &BridgeConfig,
    bridge: &LinkInfo,
) -> Result<(), CniError> {
    let filters = bridge.bridge.is_some_and(|info| info.vlan_filtering);
    if config.vlans.is_none() || filters {
        return Ok(());
    }
    let name = &bridge.name;
    if !ports(netlink, bridge)?.is_empty() {
        let msg = format!("bridge {name:?} does not filter VLANs and has ports already");
        return Err(CniError::new(Kind::Conflict, msg).details(format!(
            "switch it on with `ip link set {name} type bridge vlan_filtering 1`, or name another bridge"
        )));
    }
    netlink
        .set_vlan_filtering(bridge.dev(), true)
        .map_err(without_vlans)
}

/// A kernel may be built without this.
fn without_vlans(error: NetlinkError) -> CniError {
    let unsupported = error.errno == nix::libc::EOPNOTSUPP;
    let error = CniError::from(error);
    if unsupported {
        return error
            .details("this kernel's bridges can't filter VLANs (CONFIG_BRIDGE_VLAN_FILTERING)");
    }
    error
}

/// The interfaces that are connected to the bridge.
pub(super) fn ports(netlink: &mut Netlink, bridge: &LinkInfo) -> Result<Vec<LinkInfo>, CniError> {
    let mut links = netlink.links()?;
    links.retain(|link| link.master == Some(bridge.index));
    Ok(links)
}
