//! `dhcp`: has the daemon get an address of a DHCP server, keep it, and give it back. IPv4 alone, as in the reference.

mod config;

use std::fmt::Debug;
use std::path::Path;

use ipnet::IpNet;
use tweed_dhcp::call::{CallError, ask};
use tweed_dhcp::key::Key;
use tweed_dhcp::protocol::{Add, Granted, Reply, Request as Asked};

use config::{DhcpConfig, socket};

use crate::net::routes::SCOPE_LINK;
use crate::runtime::log;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{Call, CniError, CniResult, Context, Dns, IpConfig, Kind, Route};

/// What to do about a missing daemon.
const START: &str =
    "start it: `systemctl enable --now tweed-dhcp.socket`, or `/opt/cni/bin/dhcp daemon`";

pub(crate) struct Dhcp;

impl Plugin for Dhcp {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        Ok(Box::new(DhcpConfig::parse(
            request.conf,
            &request.call.args,
        )?))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let Request { call, conf, .. } = request;
        let config = DhcpConfig::parse(conf, &call.args)?;
        let key = key(call, &conf.name);
        let (path, to_release) = (config.socket.clone(), key.clone());
        undo.push(move || release(&path, to_release));
        let asked = Asked::Add(Add {
            key,
            netns: netns(call)?,
            request: config.request.clone(),
            provide: config.provide.clone(),
        });
        match ask(&config.socket, &asked).map_err(failed)? {
            Reply::Lease(granted) => Ok(result(&granted, config.priority)),
            other => Err(unexpected(&other)),
        }
    }

    fn del(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        let Request { call, conf, .. } = request;
        release(&socket(conf), key(call, &conf.name))
    }

    /// The daemon keeps the lease, and it is the one of ADD.
    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        let Request { call, conf, .. } = request;
        let prev = conf.required_prev_result()?;
        let key = key(call, &conf.name);
        let granted = match ask(&socket(conf), &Asked::Check { key }) {
            Ok(Reply::Lease(granted)) => granted,
            Ok(other) => return Err(unexpected(&other)),
            Err(CallError::Refused(why)) => return Err(CniError::drift(why)),
            Err(error) => return Err(failed(error)),
        };
        let address = IpNet::V4(granted.address);
        let mut present = prev.addresses_of(&call.attachment.ifname);
        match present.any(|ip| ip.address == address) {
            true => Ok(()),
            false => Err(CniError::drift(format!(
                "dhcp: the lease is {address}, which the container does not have"
            ))),
        }
    }

    fn gc(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        let conf = request.conf;
        let valid = conf.valid_attachments()?.into_iter();
        let asked = Asked::Gc {
            network: conf.name.clone(),
            valid: valid.map(|key| (key.container_id, key.ifname)).collect(),
        };
        done(&socket(conf), &asked)
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        match ask(&socket(request.conf), &Asked::Status) {
            Ok(_) => Ok(()),
            Err(error) => {
                let error = failed(error);
                Err(CniError::new(Kind::NotAvailable, error.msg).details(error.details))
            }
        }
    }
}

fn key(call: &Call, network: &str) -> Key {
    Key {
        container: call.attachment.container_id.clone(),
        network: network.to_owned(),
        interface: call.attachment.ifname.clone(),
    }
}

/// The daemon may have another working directory.
fn netns(call: &Call) -> Result<std::path::PathBuf, CniError> {
    let path = call.netns.as_deref();
    let path = path.ok_or_else(|| CniError::new(Kind::Environment, "CNI_NETNS is empty"))?;
    std::path::absolute(path).context(|| format!("CNI_NETNS {}", path.display()))
}

/// As [`done`].
fn release(path: &Path, key: Key) -> Result<(), CniError> {
    done(path, &Asked::Del { key })
}

/// A request that needs no answer. Where no daemon runs nothing can be released: it forgets the containers that are gone
/// when it starts, and their leases end by themselves.
fn done(path: &Path, asked: &Asked) -> Result<(), CniError> {
    match ask(path, asked) {
        Ok(_) => Ok(()),
        Err(error @ CallError::NoDaemon { .. }) => {
            log::line(format_args!("{error}; nothing is released, {START}"));
            Ok(())
        }
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: CallError) -> CniError {
    match error {
        CallError::NoDaemon { .. } => CniError::new(Kind::TryLater, error).details(START),
        CallError::NoAnswer { .. } => CniError::new(Kind::TryLater, error),
        CallError::Foreign(_) | CallError::Refused(_) => CniError::failed(error),
    }
}

fn unexpected(reply: &Reply) -> CniError {
    CniError::failed(format!("the DHCP daemon answers {reply:?}"))
        .details("it is of another release: restart it")
}

fn result(granted: &Granted, priority: u32) -> CniResult {
    let Granted {
        address,
        gateway,
        routes,
        name_servers,
        domain,
    } = granted;
    let routes = routes.iter().map(|route| Route {
        priority,
        scope: route.gateway.is_none().then_some(SCOPE_LINK),
        ..Route::new(route.dst.into(), route.gateway.map(Into::into))
    });
    CniResult {
        interfaces: Vec::new(),
        ips: vec![IpConfig {
            interface: None,
            address: (*address).into(),
            gateway: gateway.map(Into::into),
        }],
        routes: routes.collect(),
        dns: Dns {
            nameservers: name_servers.iter().map(ToString::to_string).collect(),
            domain: domain.clone(),
            ..Dns::default()
        },
    }
}
