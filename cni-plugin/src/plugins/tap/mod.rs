//! `tap`: an interface whose other end is a program in the container, such as a virtual machine's monitor.

use std::fmt::Debug;

use serde::Deserialize;
use tweed_model::Mac;
use tweed_netlink::netns::Netns;
use tweed_netlink::{LinkChange, LinkInfo, Netlink, TapSpec, add_tap};

use crate::net::{inner, link, namespace, options};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Context, Dns, Kind};

/// The kernel's name of TUN and TAP devices alike.
const KIND: &str = "tun";

pub(crate) struct Tap;

#[derive(Debug)]
struct Config {
    multi_queue: bool,
    /// User and group that may open it.
    owner: Option<u32>,
    group: Option<u32>,
    mac: Option<Mac>,
    /// MTU in bytes.
    mtu: Option<u32>,
    /// A bridge in the container that it is a port of.
    bridge: Option<String>,
    dns: Option<Dns>,
}

/// All keys. Their defaults are unset, off, none or 0, as in the reference.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    multi_queue: bool,
    mtu: i64,
    mac: String,
    owner: Option<u32>,
    group: Option<u32>,
    selinux_context: String,
    bridge: String,
}

impl Plugin for Tap {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        let config = Config::parse(request)?;
        let ipam = Delegate::of_ipam(request)?;
        ipam.map(|ipam| ipam.configuration(request)).transpose()?;
        Ok(Box::new(config))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let config = Config::parse(request)?;
        let netns = namespace::open(request.call)?;
        let ipam = Delegate::of_ipam(request)?;
        let job = inner::Job {
            request,
            ipam: ipam.as_ref(),
            netns: &netns,
            kind: KIND,
            given: CniResult::default(),
            dns: config.dns.as_ref(),
        };
        job.add(undo, &mut |inside, name| config.make(&netns, inside, name))
    }

    fn del(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        inner::del(request, removal, KIND)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        let config = Config::parse(request)?;
        inner::check(request, KIND, |link, netns| config.check(link, netns))
    }

    fn gc(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        inner::gc(request, removal, KIND)
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        let ipam = Delegate::of_ipam(request)?;
        ipam.map_or(Ok(()), |ipam| ipam.status(request))
    }
}

impl Config {
    fn parse(request: &Request<'_>) -> Result<Self, CniError> {
        let Request { call, conf, .. } = request;
        let keys: Keys = conf.read()?;
        if !keys.selinux_context.is_empty() {
            let msg = format!("selinuxContext {:?} is not supported", keys.selinux_context);
            return Err(CniError::new(Kind::UnsupportedField, msg).details(
                "the device has the label of the process that makes it, which no plugin of this binary changes: remove \
                 the key, and let the program that opens the device relabel it",
            ));
        }
        let bridge = Some(keys.bridge).filter(|bridge| !bridge.is_empty());
        if let Some(bridge) = &bridge {
            options::check_interface("bridge", bridge)?;
        }
        let dynamic = conf.dynamic()?;
        let mac = [
            dynamic.runtime.mac.as_deref(),
            call.args.get("MAC"),
            Some(keys.mac.as_str()),
        ];
        Ok(Self {
            multi_queue: keys.multi_queue,
            owner: keys.owner,
            group: keys.group,
            mac: options::mac(&mac)?,
            mtu: options::mtu(keys.mtu)?,
            bridge,
            dns: options::dns(conf)?,
        })
    }

    fn make(&self, netns: &Netns, inside: &mut Netlink, name: &str) -> Result<(), CniError> {
        let spec = TapSpec {
            name,
            multi_queue: self.multi_queue,
            owner: self.owner,
            group: self.group,
        };
        netns
            .run(|| add_tap(&spec))?
            .context(|| "failed to create tap")?;
        let bridge = match &self.bridge {
            Some(bridge) => Some(find_bridge(inside, bridge)?.index),
            None => None,
        };
        let change = LinkChange {
            mac: self.mac,
            mtu: self.mtu,
            master: bridge,
            ..LinkChange::default()
        };
        let tap = link::existing(inside, name)?;
        inside
            .set_link(tap.dev(), &change)
            .context(|| "failed to set up tap")
    }

    fn check(&self, link: &LinkInfo, netns: &Netns) -> Result<(), CniError> {
        if link.queues != self.multi_queue {
            let (name, is) = (&link.name, link.queues);
            let msg = format!("{name}: multiQueue is {is}, configured is {}", !is);
            return Err(CniError::drift(msg));
        }
        let Some(bridge) = &self.bridge else {
            return Ok(());
        };
        let found = netns.netlink()?.link(bridge)?;
        if found.is_none() || found.map(|bridge| bridge.index) != link.master {
            let msg = format!("{} is not connected to bridge {bridge}", link.name);
            return Err(CniError::drift(msg));
        }
        Ok(())
    }
}

fn find_bridge(inside: &mut Netlink, name: &str) -> Result<LinkInfo, CniError> {
    inside.link(name)?.ok_or_else(|| {
        CniError::failed(format!("failed to get bridge {name}"))
            .details("there is no such interface in the container")
    })
}
