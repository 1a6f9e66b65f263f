//! `bridge`: a veth pair for each container, one end in a bridge of the host.
//!
//! ADD goes from what can be refused to what must be undone: configuration, bridge, addresses from the IPAM plugin,
//! gateway, pair, container. Few requests: the kernel makes the pair in one, its ends in their places.

mod check;
mod config;
mod container;
mod device;
mod gateway;
mod port;
mod teardown;

use config::Config;
use tweed_overlay::firewall::Owner;
use tweed_overlay::netlink::{LinkInfo, Netlink};
use tweed_overlay::netns::Netns;

use crate::delegate::Delegate;
use crate::identity;
use crate::plugin::Plugin;
use crate::sandbox;
use crate::spec::{Call, CniError, CniResult, Context, Interface, Kind, NetConf, Verb};
use crate::undo::Undo;

/// The plugin.
pub(crate) struct Bridge;

impl Plugin for Bridge {
    fn add(&self, call: &Call, conf: &NetConf) -> Result<CniResult, CniError> {
        let ipam = Delegate::of_ipam(conf)?;
        let config = Config::parse(conf, &call.args, ipam.is_some())?;
        let netns = sandbox::open(call)?;
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
        Config::parse(conf, &call.args, ipam.is_some())?;
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
        if config.gateway {
            gateway::ensure(netlink, &bridge, &gateways, config, self.conf)?;
        }

        let ifname = &self.call.attachment.ifname;
        let host_end = port::create(netlink, &bridge, self.netns, ifname, &self.owner, config)?;
        undo.push(|netlink| port::remove(netlink, &self.owner).map(|_| ()));
        let families = container::families(&result);
        let mut inside = container::enter(self.netns, ifname, &families, config)?;
        let container_end = existing(&mut inside, ifname)?;
        let host_index = container_end.peer_index().unwrap_or_default();
        let port = tweed_overlay::netlink::Dev {
            index: host_index,
            name: &host_end,
        };
        port::configure(netlink, port, &self.owner, &bridge, config)?;
        if config.container_up {
            container::configure(&mut inside, &container_end, &result, config)?;
            port::wait_until_up(netlink, &host_end)?;
        }
        self.complete(&mut result, &bridge, host_end, &container_end);
        Ok(result)
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
        let mac = |mac: Option<tweed_overlay::model::Mac>| mac.map(|m| m.to_string());
        let interface = |name: String, mac: Option<String>, sandbox: String| Interface {
            name,
            mac: mac.unwrap_or_default(),
            sandbox,
            ..Interface::default()
        };
        let host_mac = Some(identity::host_mac(&self.owner).to_string());
        let sandbox = self.netns.path().to_string_lossy().into_owned();
        result.interfaces = vec![
            interface(bridge.name.clone(), mac(bridge.mac), String::new()),
            interface(host_end, host_mac, String::new()),
            interface(container_end.name.clone(), mac(container_end.mac), sandbox),
        ];
        for ip in &mut result.ips {
            ip.interface = Some(2);
        }
        if let Some(dns) = &self.config.dns {
            result.dns = dns.clone();
        }
    }
}

fn existing(netlink: &mut Netlink, ifname: &str) -> Result<LinkInfo, CniError> {
    netlink
        .link(ifname)?
        .ok_or_else(|| CniError::failed(format!("{ifname} has vanished from the container")))
}
