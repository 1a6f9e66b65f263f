//! `flannel` and `tweed`: turn what the agent says in `subnet.env` into the configuration of another plugin, usually
//! `bridge` with `host-local`, and pass every verb on to it. Host ports, where the runtime hands some over, are made as
//! `portmap` makes them.

mod agent;
mod config;
mod state;

use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::path::Path;

use config::Config;
use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;
use state::StateDir;
use tweed_overlay::bounded_file::{self, KIB, Links};
use tweed_overlay::model::Dual;
use tweed_overlay::model::subnet_env::SubnetEnv;

use crate::net::namespace;
use crate::plugins::portmap;
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::Plugin;
use crate::spec::error::reason;
use crate::spec::{Call, CniError, CniResult, Context, Kind, NetConf, Verb, json};
use crate::state::file;

/// The plugin.
pub(crate) struct Flannel;

impl Plugin for Flannel {
    fn configuration(&self, call: &Call, conf: &NetConf) -> Result<Box<dyn Debug>, CniError> {
        let config = Config::parse(conf)?;
        // What the agent says changes no type. Without it, `host-local` would miss its ranges.
        let example = SubnetEnv {
            networks: Dual::default(),
            subnets: Dual::of_nets([IpNet::V4(Ipv4Net::new_assert(
                Ipv4Addr::new(192, 0, 2, 0),
                24,
            ))]),
            mtu: 0,
            ip_masq: true,
        };
        Delegate::of_conf(config.delegate(Some(&example))?)?.check_types(call)?;
        let delegate = config.delegate(None)?;
        let Config {
            subnet_file,
            data_dir,
            run_dir,
            ..
        } = config;
        Ok(Box::new((subnet_file, data_dir, run_dir, delegate)))
    }

    fn add(&self, call: &Call, conf: &NetConf) -> Result<CniResult, CniError> {
        let config = Config::parse(conf)?;
        let env = read_env(&config.subnet_file)?;
        let value = config.delegate(Some(&env))?;
        let delegate = Delegate::of_conf(value.clone())?;
        // Before the delegate runs: if we are killed, DEL must know what it did.
        let saved = StateDir::new(&config.data_dir).save(&call.attachment, &value)?;
        let result = delegate
            .add(call)
            .context(|| "failed to delegate add")
            .and_then(|result| {
                let published = portmap::attach(call, &config.host_ports(), &result);
                published.map_err(|error| match delegate.call(call, Verb::Del) {
                    Ok(()) => error,
                    Err(undo) => error.details(format!("and DEL failed: {undo}")),
                })?;
                Ok(result)
            });
        result.map_err(|error| match file::remove(&saved) {
            Ok(()) => error,
            Err(undo) => error.details(format!("and {undo}")),
        })
    }

    /// Goes by what ADD has saved, else by the configuration, and by as much of that as makes sense.
    fn del(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        let config = Config::for_removal(conf);
        let ports = portmap::detach(call, &config.host_ports());
        let state = StateDir::new(&config.data_dir);
        let saved = state.load(&call.attachment);
        let remembered = saved.as_ref().and_then(|saved| saved.conf.clone());
        let remembered = remembered
            .map(|value| Delegate::of_conf(with_prev_result(value, conf)))
            .and_then(Result::ok);
        let delegate = remembered.map_or_else(
            || Delegate::of_conf(with_prev_result(derive(&config)?, conf)),
            Ok,
        )?;
        delegate
            .call(call, Verb::Del)
            .context(|| "failed to delegate delete")?;
        let path = saved.as_ref().map(|saved| saved.path.as_path());
        state.forget(&call.attachment, path, |earlier| {
            earlier["name"] == conf.name && !has_other_interfaces(call)
        })?;
        ports
    }

    fn check(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        let config = Config::parse(conf)?;
        let saved = StateDir::new(&config.data_dir).load(&call.attachment);
        let value = match saved.and_then(|saved| saved.conf) {
            Some(value) => value,
            None => config.delegate(Some(&read_env(&config.subnet_file)?))?,
        };
        let delegate = Delegate::of_conf(with_prev_result(value, conf))?;
        delegate
            .call(call, Verb::Check)
            .context(|| "failed to delegate check")?;
        portmap::verify(call, &config.host_ports())
    }

    fn gc(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        let config = Config::for_removal(conf);
        let valid = conf.valid_attachments()?;
        let mut value = derive(&config)?;
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            if let Some(list) = json::get(&conf.raw, key) {
                value[key] = list.clone();
            }
        }
        Delegate::of_conf(value)?
            .call(call, Verb::Gc)
            .context(|| "failed to delegate garbage collection")?;
        portmap::retain(&config.host_ports(), &valid)?;
        StateDir::new(&config.data_dir).retain(&conf.name, &valid)
    }

    fn status(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        let config = Config::parse(conf)?;
        let env = read_env(&config.subnet_file).map_err(|error| CniError {
            kind: Kind::NotAvailable,
            ..error
        })?;
        Delegate::of_conf(config.delegate(Some(&env))?)?.call(call, Verb::Status)?;
        agent::runs(&config.run_dir, &config.subnet_file)
    }
}

/// Whether the container has interfaces beside the one that was removed. When that can't be told, it may.
fn has_other_interfaces(call: &Call) -> bool {
    let Ok(Some(netns)) = namespace::open_if_there(call) else {
        return call.netns.as_deref().is_some_and(Path::exists);
    };
    let links = netns
        .netlink()
        .ok()
        .and_then(|mut inside| inside.links().ok());
    links.is_none_or(|links| {
        let mut others = links.iter().filter(|link| !link.loopback);
        others.any(|link| link.name != call.attachment.ifname)
    })
}

/// The agent's file. The text of the error is flannel's, since that is what people search for.
fn read_env(path: &Path) -> Result<SubnetEnv, CniError> {
    let text = bounded_file::read(path, Links::Followed, 64 * KIB)
        .map_err(|error| format!("open {}: {}", path.display(), reason(&error)));
    text.and_then(|bytes| {
        SubnetEnv::parse(&String::from_utf8_lossy(&bytes))
            .map_err(|error| format!("{} {error}", path.display()))
    })
    .map_err(|cause| {
        CniError::failed(format!(
            "failed to load flannel 'subnet.env' file: {cause}. Check the flannel pod log for this node."
        ))
        .details("the agent writes it once this node holds a lease: see `tweedd status` and start tweedd if it isn't running")
    })
}

/// The delegate as it would be made now. Without the agent's file it still knows what to remove.
fn derive(config: &Config) -> Result<Value, CniError> {
    let env = read_env(&config.subnet_file).ok();
    let now = config.delegate(env.as_ref());
    now.or_else(|_| config.delegate(None))
}

/// The delegate's configuration with the result that the runtime handed us, in the version that it speaks now.
fn with_prev_result(mut value: Value, conf: &NetConf) -> Value {
    if let Some(result) = json::get(&conf.raw, "prevResult") {
        value["prevResult"] = result.clone();
        value["cniVersion"] = conf.version.name().into();
    }
    value
}
