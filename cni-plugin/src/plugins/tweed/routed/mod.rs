//! A pod without a bridge: the host has a route to each of its addresses by the host's end of its pair, and the pod
//! sends everything to the host. What two pods of one node send each other is forwarded like all else.
//!
//! Nobody has the gateways' addresses, and nobody is asked for any: each side has permanent neighbour entries with the
//! Ethernet address of the other.

mod check;
mod config;
mod host_end;
mod inside;
mod ipam;

use std::collections::BTreeSet;
use std::fmt::Debug;

use config::RoutedConfig;
use ipnet::IpNet;
use tweed_attach::Owner;
use tweed_model::{Family, Mac, Routed as Place};
use tweed_netlink::netns::Netns;
use tweed_netlink::{Dev, LinkInfo, Netlink};

use crate::net::container;
use crate::net::masquerade::{Masquerade, OnHost};
use crate::net::sysctl::enable_forwarding;
use crate::net::veth::{self, Pair};
use crate::net::{addresses, attachment, identity, link, namespace, packet_filter};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Interface};

/// The plugin that makes the interface of an entry with mode `routed`.
pub(super) struct Routed;

impl Plugin for Routed {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        let config = RoutedConfig::parse(request.conf)?;
        ipam::of(request)?.configuration(request)?;
        Ok(Box::new(config))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let Request { call, conf, .. } = request;
        let config = RoutedConfig::parse(conf)?;
        let ipam = ipam::of(request)?;
        let netns = namespace::open(call)?;
        let mut netlink = link::socket()?;
        let job = Job {
            request,
            config: &config,
            ipam: &ipam,
            netns: &netns,
            owner: identity::owner(&conf.name, &call.attachment),
        };
        match undo.attempt(|undo| job.attach(&mut netlink, undo)) {
            // A killed ADD has left something, or the runtime asks again: start afresh, but only once.
            Err(error)
                if attachment::clear_leftovers(request, Some(&ipam), &error, || {
                    veth::remove(&mut netlink, &job.owner)
                })? =>
            {
                job.attach(&mut netlink, undo)
            }
            other => other,
        }
    }

    /// Routes and neighbour entries go with the pair.
    fn del(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        attachment::del(request, removal, |owner| {
            veth::remove_attachment(request, owner)
        })
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        check::check(request)
    }

    fn gc(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        attachment::gc(request, removal, |valid, removal| {
            veth::retain(request, valid, removal)
        })
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        if RoutedConfig::parse(request.conf)?.ip_masq {
            packet_filter::status()?;
        }
        ipam::of(request)?.status(request)
    }
}

/// One ADD.
struct Job<'a> {
    request: &'a Request<'a>,
    config: &'a RoutedConfig,
    ipam: &'a Delegate,
    netns: &'a Netns,
    owner: Owner,
}

impl Job<'_> {
    fn attach(&self, netlink: &mut Netlink, undo: &mut Undo) -> Result<CniResult, CniError> {
        let given = attachment::addresses(self.request, self.ipam, undo)?;
        let own_networks: Vec<IpNet> = given.ips.iter().map(|ip| ip.address).collect();
        let mut result = inside::routed(given)?;
        let families: BTreeSet<Family> = addresses::families(&result);
        families.iter().copied().try_for_each(enable_forwarding)?;

        let name = self.pair(netlink, undo)?;
        let ifname = &self.request.call.attachment.ifname;
        let mut inside = container::enter(self.netns, ifname, &families, inside::BEHAVIOUR)?;
        let end = link::existing(&mut inside, ifname)?;
        let host_end = Dev {
            index: end.peer_index().unwrap_or_default(),
            name: &name,
        };
        let place = self.place(&name, &end, &result);
        host_end::set_up(netlink, host_end, &self.owner, &families)?;
        inside::configure(&mut inside, &end, &result, identity::host_mac(&self.owner))?;
        host_end::lead(netlink, host_end, &place)?;
        self.write_down(own_networks, place, undo)?;
        self.complete(&mut result, name, &end);
        Ok(result)
    }

    /// Makes the pair, both ends down, and answers the host's end's name.
    fn pair(&self, netlink: &mut Netlink, undo: &mut Undo) -> Result<String, CniError> {
        let pair = Pair {
            owner: &self.owner,
            netns: self.netns,
            ifname: &self.request.call.attachment.ifname,
            mac: self.config.mac,
            mtu: self.config.mtu,
        };
        let name = pair.create(netlink, |netlink, spec| netlink.add_veth(spec))?;
        let owner = self.owner.clone();
        undo.push(move || veth::remove(&mut link::socket()?, &owner).map(drop));
        Ok(name)
    }

    fn place(&self, host_end: &str, container_end: &LinkInfo, result: &CniResult) -> Place {
        Place {
            port: host_end.to_owned(),
            mac: container_end.mac.unwrap_or(Mac([0; 6])),
            addresses: result.ips.iter().map(|ip| ip.address.addr()).collect(),
        }
    }

    fn write_down(
        &self,
        own_networks: Vec<IpNet>,
        place: Place,
        undo: &mut Undo,
    ) -> Result<(), CniError> {
        let addrs = own_networks.into_iter().filter(|_| self.config.ip_masq);
        let Request { call, conf, .. } = self.request;
        let record = Masquerade::with_records_in(&self.config.state_dir, conf, &call.attachment);
        record.add(
            addrs.collect(),
            (OnHost::Routed(place), self.netns.path()),
            undo,
        )
    }

    fn complete(&self, result: &mut CniResult, host_end: String, container_end: &LinkInfo) {
        let host_end = Interface {
            name: host_end,
            mac: identity::host_mac(&self.owner).to_string(),
            ..Interface::default()
        };
        let sandbox = self.netns.path().to_string_lossy();
        result.interfaces = vec![host_end, link::entry(container_end, &sandbox)];
        for ip in &mut result.ips {
            ip.interface = Some(1);
        }
        if let Some(dns) = &self.config.dns {
            result.dns = dns.clone();
        }
    }
}
