//! `bridge`: a veth pair for each container, one end in a bridge of the host.
//!
//! ADD goes from what can be refused to what must be undone: configuration, bridge, addresses from the IPAM plugin,
//! gateway, pair, container. Few requests: the kernel makes the pair in one, its ends in their places.

mod check;
mod config;
mod device;
mod filter;
mod gateway;
mod port;
mod record;
mod source;
mod vlan;

use std::collections::BTreeSet;
use std::fmt::Debug;

use config::BridgeConfig;
use gateway::Site;
use ipnet::IpNet;
use source::SourceCheck;
use tweed_attach::Owner;
use tweed_model::{Bridged, Family};
use tweed_netlink::netns::Netns;
use tweed_netlink::{Dev, LinkInfo, Netlink};

use crate::net::masquerade::{Masquerade, OnHost};
use crate::net::veth::{self, Pair};
use crate::net::{addresses, attachment, container, identity, link, namespace, packet_filter};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Interface, Kind};

pub(crate) struct Bridge;

impl Plugin for Bridge {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        let ipam = Delegate::of_ipam(request)?;
        let config = BridgeConfig::parse(request.conf, &request.call.args, ipam.is_some())?;
        ipam.map(|ipam| ipam.configuration(request)).transpose()?;
        Ok(Box::new(config))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let Request { call, conf, .. } = request;
        let ipam = Delegate::of_ipam(request)?;
        let config = BridgeConfig::parse(conf, &call.args, ipam.is_some())?;
        filter::load(&call.args);
        let netns = namespace::open(call)?;
        let mut netlink = link::socket()?;
        let job = Job {
            request,
            config: &config,
            ipam: ipam.as_ref(),
            netns: &netns,
            owner: identity::owner(&conf.name, &call.attachment),
        };
        match undo.attempt(|undo| job.attach(&mut netlink, undo)) {
            // A killed ADD has left something, or the runtime asks again: start afresh, but only once.
            Err(error) if job.clear_leftovers(&mut netlink, &error)? => {
                job.attach(&mut netlink, undo)
            }
            other => other,
        }
    }

    fn del(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        let Request { call, conf, .. } = request;
        let owner = identity::owner(&conf.name, &call.attachment);
        let source_check = SourceCheck::of(conf, &call.attachment, &owner);
        let result = attachment::del(request, removal, |owner| {
            veth::remove_attachment(request, owner)
        });
        removal.step(source_check.remove());
        result
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        check::check(request)
    }

    fn gc(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        let conf = request.conf;
        let checks_any = source::checks_any(conf);
        let result = attachment::gc(request, removal, |valid, removal| {
            veth::retain(request, valid, removal)
        });
        if checks_any {
            let valid = identity::valid_owners(conf);
            removal.step(valid.and_then(|valid| source::retain(conf, &valid)));
        }
        result
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        let ipam = Delegate::of_ipam(request)?;
        let config = BridgeConfig::parse(request.conf, &request.call.args, ipam.is_some())?;
        if config.ip_masq || config.checks_source {
            packet_filter::status()?;
        }
        ipam.map_or(Ok(()), |ipam| ipam.status(request))
    }
}

/// One ADD.
struct Job<'a> {
    request: &'a Request<'a>,
    config: &'a BridgeConfig,
    ipam: Option<&'a Delegate>,
    netns: &'a Netns,
    owner: Owner,
}

impl Job<'_> {
    fn attach(&self, netlink: &mut Netlink, undo: &mut Undo) -> Result<CniResult, CniError> {
        let config = self.config;
        let bridge = device::ensure(netlink, config)?;
        let needs_interface = self.ipam.is_some_and(Delegate::needs_interface);
        let connected = needs_interface.then(|| self.connected(netlink, &bridge, undo));
        let connected = connected.transpose()?;
        let mut result = match self.ipam {
            Some(ipam) => attachment::addresses(self.request, ipam, undo)?,
            // Without addresses the bridge is just a switch.
            None => CniResult::default(),
        };
        gateway::complete(&mut result, config);
        let vlan_gateway = self.gateways(netlink, &bridge, &result)?;

        let host_end = match connected {
            Some(host_end) => host_end,
            None => self.pair(netlink, &bridge, undo)?,
        };
        let ifname = &self.request.call.attachment.ifname;
        let families = addresses::families(&result);
        let behaviour = config.behaviour();
        let mut inside = container::enter(self.netns, ifname, &families, behaviour)?;
        let container_end = link::existing(&mut inside, ifname)?;
        let port = Dev {
            index: container_end.peer_index().unwrap_or_default(),
            name: &host_end,
        };
        port::configure(netlink, port, &self.owner, &bridge, config)?;
        let only_source = container_end.mac.filter(|_| config.checks_source);
        if let Some(mac) = only_source {
            source::bind(&self.owner, &host_end, mac, undo)?;
        }
        if config.container_up {
            container::configure(&mut inside, &container_end, &result, behaviour)?;
            addresses::announce(&mut inside, &container_end, &result)?;
            port::wait_until_up(netlink, &host_end)?;
        }
        // One that is not pinned may have taken the address of its new port.
        let bridge = match device::is_pinned(&bridge) {
            true => bridge,
            false => link::existing(netlink, &config.bridge)?,
        };
        let bridged = record::bridged(
            netlink,
            config,
            (&bridge, &host_end, &result, only_source),
            &vlan_gateway,
        )?;
        self.write_down(&result, bridged, undo)?;
        self.complete(&mut result, &bridge, host_end, &container_end);
        result
            .interfaces
            .extend(vlan_gateway.iter().map(|gateway| link::entry(gateway, "")));
        Ok(result)
    }

    /// The pair, ready for an IPAM plugin that sends packets by it.
    fn connected(
        &self,
        netlink: &mut Netlink,
        bridge: &LinkInfo,
        undo: &mut Undo,
    ) -> Result<String, CniError> {
        let host_end = self.pair(netlink, bridge, undo)?;
        let port = link::existing(netlink, &host_end)?;
        port::configure(netlink, port.dev(), &self.owner, bridge, self.config)?;
        // Before it is up: from then on any neighbour could give it a route.
        let ifname = &self.request.call.attachment.ifname;
        let families = BTreeSet::from([Family::V4]);
        container::enter(self.netns, ifname, &families, self.config.behaviour())?;
        Ok(host_end)
    }

    /// Puts the gateways' addresses in their place, if they are wanted, and answers the interface of a VLAN that has
    /// them.
    fn gateways(
        &self,
        netlink: &mut Netlink,
        bridge: &LinkInfo,
        result: &CniResult,
    ) -> Result<Option<LinkInfo>, CniError> {
        if !self.config.gateway {
            return Ok(None);
        }
        let gateways: BTreeSet<IpNet> = gateway::gateways(result);
        let vid = self.config.vlans.as_ref().and_then(|vlans| vlans.native);
        let of_vlan = match vid.filter(|_| !gateways.is_empty()) {
            Some(vid) => Some(vlan::gateway(netlink, bridge, vid)?),
            None => None,
        };
        let site = Site {
            bridge,
            holder: of_vlan.as_ref().unwrap_or(bridge),
            config: self.config,
            request: self.request,
            ipam: self.ipam,
        };
        site.ensure(netlink, &gateways)?;
        Ok(of_vlan)
    }

    /// Makes the pair, the host's end up and in the bridge, the container's end down, and answers the host's end's
    /// name.
    fn pair(
        &self,
        netlink: &mut Netlink,
        bridge: &LinkInfo,
        undo: &mut Undo,
    ) -> Result<String, CniError> {
        let pair = Pair {
            owner: &self.owner,
            netns: self.netns,
            ifname: &self.request.call.attachment.ifname,
            mac: self.config.mac,
            mtu: self.config.mtu,
        };
        let name = pair.create(netlink, |netlink, spec| {
            netlink.add_veth_port(spec, bridge.dev())
        })?;
        let owner = self.owner.clone();
        undo.push(move || veth::remove(&mut link::socket()?, &owner).map(drop));
        Ok(name)
    }

    fn write_down(
        &self,
        result: &CniResult,
        bridged: Bridged,
        undo: &mut Undo,
    ) -> Result<(), CniError> {
        let addrs = result.ips.iter().map(|ip| ip.address);
        let addrs: Vec<IpNet> = addrs.filter(|_| self.config.ip_masq).collect();
        let Request { call, conf, .. } = self.request;
        Masquerade::with_records_in(&self.config.state_dir, conf, &call.attachment).add(
            addrs,
            (OnHost::Bridged(bridged), self.netns.path()),
            undo,
        )
    }

    /// Removes what an ADD of this very attachment has left, and answers whether that may have been in the way.
    fn clear_leftovers(&self, netlink: &mut Netlink, error: &CniError) -> Result<bool, CniError> {
        match error.kind {
            Kind::Taken => veth::remove(netlink, &self.owner),
            Kind::Duplicate => {
                veth::remove(netlink, &self.owner)?;
                let ipam = self.ipam.map(|ipam| ipam.del(self.request));
                ipam.transpose().map(|_| true)
            }
            _ => Ok(false),
        }
    }

    fn complete(
        &self,
        result: &mut CniResult,
        bridge: &LinkInfo,
        host_end: String,
        container_end: &LinkInfo,
    ) {
        let host_end = Interface {
            name: host_end,
            mac: identity::host_mac(&self.owner).to_string(),
            ..Interface::default()
        };
        let sandbox = self.netns.path().to_string_lossy();
        result.interfaces = vec![
            link::entry(bridge, ""),
            host_end,
            link::entry(container_end, &sandbox),
        ];
        for ip in &mut result.ips {
            ip.interface = Some(2);
        }
        if let Some(dns) = &self.config.dns {
            result.dns = dns.clone();
        }
    }
}
