//! `ptp`: a veth pair for each container and no bridge: the host routes to each container by itself, and the container to
//! everything by its gateway, whose address is on the host's end.

mod check;
mod config;
mod routes;

use std::collections::BTreeSet;
use std::fmt::Debug;

use config::PtpConfig;
use ipnet::IpNet;
use tweed_attach::Owner;
use tweed_model::Family;
use tweed_netlink::netns::Netns;
use tweed_netlink::{Dev, LinkInfo, Netlink};

use crate::net::container::{self, Behaviour};
use crate::net::masquerade::{Masquerade, OnHost};
use crate::net::sysctl::enable_forwarding;
use crate::net::veth::{self, Pair};
use crate::net::{addresses, attachment, identity, link, namespace, packet_filter};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Interface};

/// Nobody but this host is on the link: no router to learn from, no duplicate to look for.
const BEHAVIOUR: Behaviour = Behaviour {
    accept_ra: false,
    dad: false,
};

pub(crate) struct Ptp;

impl Plugin for Ptp {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        let config = PtpConfig::parse(request.conf)?;
        attachment::required_ipam(request)?.configuration(request)?;
        Ok(Box::new(config))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let Request { call, conf, .. } = request;
        let config = PtpConfig::parse(conf)?;
        let ipam = attachment::required_ipam(request)?;
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
        if PtpConfig::parse(request.conf)?.ip_masq {
            packet_filter::status()?;
        }
        attachment::required_ipam(request)?.status(request)
    }
}

/// One ADD.
struct Job<'a> {
    request: &'a Request<'a>,
    config: &'a PtpConfig,
    ipam: &'a Delegate,
    netns: &'a Netns,
    owner: Owner,
}

impl Job<'_> {
    fn attach(&self, netlink: &mut Netlink, undo: &mut Undo) -> Result<CniResult, CniError> {
        let mut result = attachment::addresses(self.request, self.ipam, undo)?;
        let hops = routes::hops(result.ips.iter())?;
        let families: BTreeSet<Family> = addresses::families(&result);
        families.iter().copied().try_for_each(enable_forwarding)?;

        let name = self.pair(netlink, undo)?;
        let ifname = &self.request.call.attachment.ifname;
        let mut inside = container::enter(self.netns, ifname, &families, BEHAVIOUR)?;
        let end = link::existing(&mut inside, ifname)?;
        let host_end = Dev {
            index: end.peer_index().unwrap_or_default(),
            name: &name,
        };
        routes::set_host_end(netlink, host_end, &self.owner, &hops)?;
        addresses::add(&mut inside, &end, &result, BEHAVIOUR.dad)?;
        link::bring_up(&mut inside, &end)?;
        routes::lead_by_gateways(&mut inside, &end, &hops)?;
        crate::net::routes::add(&mut inside, &end, &result)?;
        addresses::announce(&mut inside, &end, &result)?;
        self.masquerade(&result, undo)?;
        self.complete(&mut result, name, &end);
        Ok(result)
    }

    /// Makes the pair, both ends down, and answers the host's end's name.
    fn pair(&self, netlink: &mut Netlink, undo: &mut Undo) -> Result<String, CniError> {
        let pair = Pair {
            owner: &self.owner,
            netns: self.netns,
            ifname: &self.request.call.attachment.ifname,
            mac: None,
            mtu: self.config.mtu,
        };
        let name = pair.create(netlink, |netlink, spec| netlink.add_veth(spec))?;
        let owner = self.owner.clone();
        undo.push(move || veth::remove(&mut link::socket()?, &owner).map(drop));
        Ok(name)
    }

    fn masquerade(&self, result: &CniResult, undo: &mut Undo) -> Result<(), CniError> {
        let addrs = result.ips.iter().map(|ip| ip.address);
        let addrs: Vec<IpNet> = addrs.filter(|_| self.config.ip_masq).collect();
        let Request { call, conf, .. } = self.request;
        Masquerade::of(conf, &call.attachment).add(
            addrs,
            (OnHost::Elsewhere, self.netns.path()),
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
