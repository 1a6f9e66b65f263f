//! `bridge`: a veth pair for each container, one end in a bridge of the host.
//!
//! ADD goes from what can be refused to what must be undone: configuration, bridge, addresses from the IPAM plugin,
//! gateway, pair, container. Few requests: the kernel makes the pair in one, its ends in their places.

mod check;
mod config;
mod container;
mod device;
mod filter;
mod gateway;
mod masquerade;
mod port;
mod teardown;
mod vlan;

use std::collections::BTreeSet;
use std::fmt::Debug;

use config::Config;
use gateway::Site;
use ipnet::IpNet;
use tweed_overlay::firewall::Owner;
use tweed_overlay::netlink::{Dev, LinkInfo, Netlink};
use tweed_overlay::netns::Netns;

use crate::net::identity;
use crate::net::namespace;
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::Plugin;
use crate::runtime::undo::Undo;
use crate::spec::{Call, CniError, CniResult, Context, Interface, Kind, NetConf, Verb};
use crate::state::records::packet_filter_answers;

/// The plugin.
pub(crate) struct Bridge;

impl Plugin for Bridge {
    fn configuration(&self, call: &Call, conf: &NetConf) -> Result<Box<dyn Debug>, CniError> {
        let ipam = Delegate::of_ipam(conf)?;
        let config = Config::parse(conf, &call.args, ipam.is_some())?;
        ipam.map_or(Ok(()), |ipam| ipam.check_types(call))?;
        Ok(Box::new(config))
    }

    fn add(&self, call: &Call, conf: &NetConf) -> Result<CniResult, CniError> {
        let ipam = Delegate::of_ipam(conf)?;
        let config = Config::parse(conf, &call.args, ipam.is_some())?;
        filter::load(&call.args);
        let netns = namespace::open(call)?;
        let mut netlink = Netlink::open().context(|| "open a netlink socket")?;
        let job = Job {
            call,
            conf,
            config: &config,
            ipam: ipam.as_ref(),
            netns: &netns,
            owner: identity::owner(&conf.name, &call.attachment),
        };
        match job.attach(&mut netlink) {
            // A killed ADD has left something, or the runtime asks again: start afresh, but only once.
            Err(error) if job.clear_leftovers(&mut netlink, &error)? => job.attach(&mut netlink),
            other => other,
        }
    }

    fn del(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        teardown::del(call, conf)
    }

    fn check(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        check::check(call, conf)
    }

    fn gc(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        teardown::gc(call, conf)
    }

    fn status(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        let ipam = Delegate::of_ipam(conf)?;
        if Config::parse(conf, &call.args, ipam.is_some())?.ip_masq {
            packet_filter_answers()?;
        }
        ipam.map_or(Ok(()), |ipam| ipam.call(call, Verb::Status))
    }
}

/// One ADD.
struct Job<'a> {
    call: &'a Call,
    conf: &'a NetConf,
    config: &'a Config,
    ipam: Option<&'a Delegate>,
    netns: &'a Netns,
    owner: Owner,
}

impl Job<'_> {
    /// Does everything, or takes back what was done.
    fn attach(&self, netlink: &mut Netlink) -> Result<CniResult, CniError> {
        let mut undo = Undo::new();
        self.steps(netlink, &mut undo)
            .map_err(|error| undo.run(netlink, error))
    }

    fn steps<'u>(
        &'u self,
        netlink: &mut Netlink,
        undo: &mut Undo<'u, Netlink>,
    ) -> Result<CniResult, CniError> {
        let config = self.config;
        let bridge = device::ensure(netlink, config)?;
        let mut result = self.addresses(undo)?;
        gateway::complete(&mut result, config);
        let gateways = gateway::gateways(&result);
        let vlan_gateway = self.vlan_gateway(netlink, &bridge, &gateways)?;
        if config.gateway {
            let site = Site {
                bridge: &bridge,
                holder: vlan_gateway.as_ref().unwrap_or(&bridge),
                config,
                conf: self.conf,
            };
            site.ensure(netlink, &gateways)?;
        }

        let ifname = &self.call.attachment.ifname;
        let host_end = port::create(netlink, &bridge, self.netns, ifname, &self.owner, config)?;
        undo.push(|netlink| port::remove(netlink, &self.owner).map(|_| ()));
        let families = container::families(&result);
        let mut inside = container::enter(self.netns, ifname, &families, config)?;
        let container_end = existing(&mut inside, ifname)?;
        let port = Dev {
            index: container_end.peer_index().unwrap_or_default(),
            name: &host_end,
        };
        port::configure(netlink, port, &self.owner, &bridge, config)?;
        if config.container_up {
            container::configure(&mut inside, &container_end, &result, config)?;
            port::wait_until_up(netlink, &host_end)?;
        }
        self.masquerade(&result, undo)?;
        // One that is not pinned may have taken the address of its new port.
        let bridge = match device::is_pinned(&bridge) {
            true => bridge,
            false => existing(netlink, &config.bridge)?,
        };
        self.complete(&mut result, &bridge, host_end, &container_end);
        result
            .interfaces
            .extend(vlan_gateway.iter().map(|link| interface(link, "")));
        Ok(result)
    }

    fn masquerade<'u>(
        &'u self,
        result: &CniResult,
        undo: &mut Undo<'u, Netlink>,
    ) -> Result<(), CniError> {
        let addrs: Vec<IpNet> = result.ips.iter().map(|ip| ip.address).collect();
        if !self.config.ip_masq || addrs.is_empty() {
            return Ok(());
        }
        let attachment = &self.call.attachment;
        undo.push(|_| masquerade::remove(self.conf, attachment, &self.owner));
        let (dir, network) = (&self.config.state_dir, &self.conf.name);
        masquerade::add(dir, network, attachment, addrs)
    }

    fn vlan_gateway(
        &self,
        netlink: &mut Netlink,
        bridge: &LinkInfo,
        gateways: &BTreeSet<IpNet>,
    ) -> Result<Option<LinkInfo>, CniError> {
        let vid = self.config.vlans.as_ref().and_then(|vlans| vlans.native);
        match vid.filter(|_| self.config.gateway && !gateways.is_empty()) {
            Some(vid) => vlan::gateway(netlink, bridge, vid).map(Some),
            None => Ok(None),
        }
    }

    /// What the IPAM plugin gives. Without one there are no addresses, and the bridge is just a switch.
    fn addresses<'u>(&'u self, undo: &mut Undo<'u, Netlink>) -> Result<CniResult, CniError> {
        let Some(ipam) = self.ipam else {
            return Ok(CniResult::default());
        };
        let result = ipam.add(self.call)?;
        undo.push(|_| ipam.call(self.call, Verb::Del));
        if result.ips.is_empty() {
            let msg = "IPAM plugin returned missing IP config";
            return Err(CniError::failed(msg).details(format!("ipam.type is {}", ipam.name())));
        }
        Ok(result)
    }

    /// Removes what an ADD of this very attachment has left, and answers whether that may have been in the way.
    fn clear_leftovers(&self, netlink: &mut Netlink, error: &CniError) -> Result<bool, CniError> {
        match error.kind {
            Kind::Taken => port::remove(netlink, &self.owner),
            Kind::Duplicate => {
                port::remove(netlink, &self.owner)?;
                let ipam = self.ipam.map(|ipam| ipam.call(self.call, Verb::Del));
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
            interface(bridge, ""),
            host_end,
            interface(container_end, &sandbox),
        ];
        for ip in &mut result.ips {
            ip.interface = Some(2);
        }
        if let Some(dns) = &self.config.dns {
            result.dns = dns.clone();
        }
    }
}

fn existing(netlink: &mut Netlink, name: &str) -> Result<LinkInfo, CniError> {
    let link = netlink.link(name)?;
    link.ok_or_else(|| CniError::failed(format!("interface {name} has vanished during ADD")))
}

fn interface(link: &LinkInfo, sandbox: &str) -> Interface {
    Interface {
        name: link.name.clone(),
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        sandbox: sandbox.to_owned(),
        ..Interface::default()
    }
}
