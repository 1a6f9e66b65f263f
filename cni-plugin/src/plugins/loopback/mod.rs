//! `loopback`: brings `lo` up. Runtimes call it for every container; `CNI_IFNAME` is not looked at.

use std::fmt::Debug;

use ipnet::IpNet;
use tweed_overlay::model::Family;
use tweed_overlay::netlink::{LinkChange, LinkInfo, Netlink};

use crate::net::namespace;
use crate::runtime::plugin::Plugin;
use crate::spec::{Call, CniError, CniResult, Interface, IpConfig, NetConf};

/// The plugin.
pub(crate) struct Loopback;

impl Plugin for Loopback {
    fn configuration(&self, _call: &Call, conf: &NetConf) -> Result<Box<dyn Debug>, CniError> {
        Ok(Box::new(conf.prev_result()?))
    }

    fn add(&self, call: &Call, conf: &NetConf) -> Result<CniResult, CniError> {
        let prev = conf.prev_result()?;
        let netns = namespace::open(call)?;
        let mut netlink = netns.netlink()?;
        let lo = find(&mut netlink)?;
        set_up(&mut netlink, &lo, true)?;
        let nets = loopback_nets(&mut netlink, &lo)?;
        let sandbox = netns.path().to_string_lossy().into_owned();
        Ok(prev.unwrap_or_else(|| result(nets, sandbox)))
    }

    fn del(&self, call: &Call, _conf: &NetConf) -> Result<(), CniError> {
        let Some(netns) = namespace::open_if_there(call)? else {
            return Ok(());
        };
        let mut netlink = netns.netlink()?;
        let lo = find(&mut netlink)?;
        set_up(&mut netlink, &lo, false)
    }

    fn check(&self, call: &Call, _conf: &NetConf) -> Result<(), CniError> {
        let mut netlink = namespace::open(call)?.netlink()?;
        if find(&mut netlink)?.up {
            return Ok(());
        }
        Err(CniError::drift("loopback interface is down"))
    }

    fn gc(&self, _call: &Call, _conf: &NetConf) -> Result<(), CniError> {
        Ok(())
    }

    fn status(&self, _call: &Call, _conf: &NetConf) -> Result<(), CniError> {
        Ok(())
    }
}

fn find(netlink: &mut Netlink) -> Result<LinkInfo, CniError> {
    netlink
        .link("lo")?
        .ok_or_else(|| CniError::failed("there is no interface lo in the container"))
}

fn set_up(netlink: &mut Netlink, lo: &LinkInfo, up: bool) -> Result<(), CniError> {
    let change = LinkChange {
        up: Some(up),
        ..LinkChange::default()
    };
    Ok(netlink.set_link(lo.dev(), &change)?)
}

/// The first address of each family, which the kernel gave `lo` when it came up.
fn loopback_nets(netlink: &mut Netlink, lo: &LinkInfo) -> Result<Vec<IpNet>, CniError> {
    let addrs = netlink.addrs(Some(lo.index))?;
    let mut nets = Vec::new();
    for family in Family::BOTH {
        let of_family = addrs
            .iter()
            .map(|addr| addr.net)
            .find(|net| Family::of_net(net) == family);
        let Some(net) = of_family else { continue };
        if !net.addr().is_loopback() {
            let msg = format!("loopback interface found with non-loopback address {net}");
            return Err(CniError::failed(msg));
        }
        nets.push(net);
    }
    Ok(nets)
}

fn result(nets: Vec<IpNet>, sandbox: String) -> CniResult {
    CniResult {
        interfaces: vec![Interface {
            name: "lo".into(),
            mac: "00:00:00:00:00:00".into(),
            sandbox,
            ..Interface::default()
        }],
        ips: nets
            .into_iter()
            .map(|address| IpConfig {
                interface: Some(0),
                address,
                gateway: None,
            })
            .collect(),
        ..CniResult::default()
    }
}
