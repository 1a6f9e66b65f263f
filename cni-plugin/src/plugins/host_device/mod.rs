//! `host-device`: a device of the host that is the container's while it lives.
//!
//! It is moved, renamed and marked with its old name in one request, so that a killed process leaves it in one of two
//! places, and DEL finds it in both.

mod config;
mod device;
mod saved;
mod sysfs;

use std::fmt::Debug;
use std::path::Path;

use config::DeviceConfig;
use saved::Saved;
use sysfs::Found;
use tweed_attach::Owner;
use tweed_netlink::LinkInfo;
use tweed_netlink::netns::Netns;

use crate::net::{addresses, attachment, container, identity, inner, link, namespace};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Interface};
use crate::state::records::{self, state_dir};

/// Where the kernel lists devices.
const SYSFS: &str = "/sys";

pub(crate) struct HostDevice;

impl Plugin for HostDevice {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        let config = DeviceConfig::parse(request.conf)?;
        let ipam = Delegate::of_ipam(request)?;
        ipam.map(|ipam| ipam.configuration(request)).transpose()?;
        Ok(Box::new(config))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let Request { call, conf, .. } = request;
        let config = DeviceConfig::parse(conf)?;
        let ipam = Delegate::of_ipam(request)?;
        let netns = namespace::open(call)?;
        let job = Job {
            request,
            config: &config,
            ipam: ipam.as_ref(),
            netns: &netns,
            owner: identity::owner(&conf.name, &call.attachment),
        };
        job.clear_leftovers()?;
        job.attach(undo)
    }

    fn del(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        let Request { call, conf, .. } = request;
        attachment::del(request, removal, |owner| {
            let path = saved::path(&state_dir(conf), owner);
            let ifname = &call.attachment.ifname;
            device::take_back(call.netns.as_deref(), Some(ifname), &path)
        })
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        let Request { call, conf, .. } = request;
        let config = DeviceConfig::parse(conf)?;
        if let Some(ipam) = Delegate::of_ipam(request)? {
            ipam.check(request)?;
        }
        let prev = conf.required_prev_result()?;
        let netns = namespace::open(call)?;
        let entry = attachment::interface(&prev, call)?;
        if sysfs::is_user_space(Path::new(SYSFS), &config.device) {
            return Ok(());
        }
        let mut inside = netns.netlink()?;
        let link = link::check_any(&mut inside, entry)?;
        container::check(&mut inside, &link, &prev)
    }

    fn gc(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        let conf = request.conf;
        attachment::gc(request, removal, |valid, removal| {
            for (path, saved) in records::all(&state_dir(conf), Saved::parse) {
                let owner = saved.owner();
                if owner.is_in(&conf.name) && !valid.contains(&owner) {
                    let netns = Some(Path::new(&saved.netns));
                    removal.step(device::take_back(netns, None, &path));
                }
            }
            Ok(())
        })
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        let ipam = Delegate::of_ipam(request)?;
        ipam.map_or(Ok(()), |ipam| ipam.status(request))
    }
}

/// One ADD.
struct Job<'a> {
    request: &'a Request<'a>,
    config: &'a DeviceConfig,
    ipam: Option<&'a Delegate>,
    netns: &'a Netns,
    owner: Owner,
}

impl Job<'_> {
    fn attach(&self, undo: &mut Undo) -> Result<CniResult, CniError> {
        let mut host = link::socket()?;
        let found = sysfs::find(Path::new(SYSFS), &mut host, &self.config.device)?;
        let lent = match &found {
            Found::Link(device) => Some(self.lend(device, undo)?),
            Found::UserSpace => None,
        };
        let mut result = match self.ipam {
            Some(ipam) => attachment::addresses(self.request, ipam, undo)?,
            None => CniResult::default(),
        };
        if let Some(link) = &lent {
            self.configure(link, &result)?;
        }
        result.interfaces = vec![self.entry(lent.as_ref())];
        for ip in &mut result.ips {
            ip.interface = Some(0);
        }
        if let Some(dns) = &self.config.dns {
            result.dns = dns.clone();
        }
        Ok(result)
    }

    /// Gives the device to the container, and first writes down what it was.
    fn lend(&self, device: &LinkInfo, undo: &mut Undo) -> Result<LinkInfo, CniError> {
        let Request { call, conf, .. } = self.request;
        let ifname = &call.attachment.ifname;
        device::check_free(self.netns, ifname)?;
        let path = saved::path(&state_dir(conf), &self.owner);
        let saved = Saved::of(device, &conf.name, &call.attachment, self.netns.path());
        let (at, was_up, of) = (path.clone(), device.up, (*call).clone());
        undo.push(move || {
            let ifname = &of.attachment.ifname;
            device::undo(of.netns.as_deref(), ifname, &at, was_up)
        });
        records::write(&path, &saved.render())?;
        device::lend(device, self.netns, ifname)
    }

    fn configure(&self, link: &LinkInfo, result: &CniResult) -> Result<(), CniError> {
        let families = addresses::families(result);
        let behaviour = inner::BEHAVIOUR;
        let mut inside = container::enter(self.netns, &link.name, &families, behaviour)?;
        container::configure(&mut inside, link, result, behaviour)
    }

    /// The device as the result names it. One that a program of user space drives is no interface of the kernel's.
    fn entry(&self, lent: Option<&LinkInfo>) -> Interface {
        let sandbox = self.netns.path().to_string_lossy();
        match lent {
            Some(link) => link::entry(link, &sandbox),
            None => Interface {
                name: self.request.call.attachment.ifname.clone(),
                sandbox: sandbox.into_owned(),
                ..Interface::default()
            },
        }
    }

    /// Takes back what an ADD of this very attachment has lent, and its address: the runtime asks again, or the first one
    /// was killed.
    fn clear_leftovers(&self) -> Result<(), CniError> {
        let call = self.request.call;
        let path = saved::path(&state_dir(self.request.conf), &self.owner);
        if saved::read(&path).is_none() {
            return Ok(());
        }
        let ifname = Some(call.attachment.ifname.as_str());
        device::take_back(call.netns.as_deref(), ifname, &path)?;
        self.ipam.map_or(Ok(()), |ipam| ipam.del(self.request))
    }
}
