//! `loopback`: brings `lo` up. Runtimes call it for every container; `CNI_IFNAME` is not looked at.

use std::fmt::Debug;

use ipnet::IpNet;
use tweed_model::Family;
use tweed_netlink::{LinkChange, LinkInfo, Netlink};

use crate::net::namespace;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{Call, CniError, CniResult, Interface, IpConfig};

pub(crate) struct Loopback;

impl Plugin for Loopback {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        Ok(Box::new(request.conf.prev_result()?))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let prev = request.conf.prev_result()?;
        let netns = namespace::open(request.call)?;
        let mut netlink = netns.netlink()?;
        let lo = find(&mut netlink)?;
        if !lo.up {
            let call = request.call.clone();
            undo.push(move || set_down(&call));
        }
        set_up(&mut netlink, &lo, true)?;
        let nets = loopback_nets(&mut netlink, &lo)?;
        let sandbox = netns.path().to_string_lossy().into_owned();
        Ok(prev.unwrap_or_else(|| result(nets, sandbox)))
    }

    fn del(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        set_down(request.call)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        let mut netlink = namespace::open(request.call)?.netlink()?;
        if find(&mut netlink)?.up {
            return Ok(());
        }
        Err(CniError::drift("loopback interface is down"))
    }

    fn gc(&self, _request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        Ok(())
    }

    fn status(&self, _request: &Request<'_>) -> Result<(), CniError> {
        Ok(())
    }
}

fn set_down(call: &Call) -> Result<(), CniError> {
    let Some(netns) = namespace::open_if_there(call)? else {
        return Ok(());
    };
    let mut netlink = netns.netlink()?;
    let lo = find(&mut netlink)?;
    set_up(&mut netlink, &lo, false)
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
