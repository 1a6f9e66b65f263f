//! `flannel`, and `tweed` without `mode`: turn the agent's `subnet.env` into the configuration of another plugin, usually
//! `bridge` with `host-local`, and pass every verb on to it. Host ports, where the runtime hands some over, are made as
//! `portmap` makes them.

mod config;

use std::fmt::Debug;
use std::path::Path;

use config::FlannelConfig;
use serde_json::Value;
use tweed_attach::live::discarded::is_discarded;

use crate::net::{agent, namespace, subnet_env};
use crate::runtime::chain::Chain;
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::{Plugin, Registry, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{Call, CniError, CniResult, Kind, NetConf, json};
use crate::state::delegates::StateDir;
use crate::state::file;

pub(crate) struct Flannel;

impl Plugin for Flannel {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        let config = FlannelConfig::parse(request.conf)?;
        Delegate::of_conf(
            request.plugins,
            config.delegate(Some(&subnet_env::example()))?,
        )?
        .configuration(request)?;
        let delegate = config.delegate(None)?;
        let FlannelConfig {
            subnet_file,
            data_dir,
            run_dir,
            ..
        } = config;
        Ok(Box::new((subnet_file, data_dir, run_dir, delegate)))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let config = FlannelConfig::parse(request.conf)?;
        let env = subnet_env::read(&config.subnet_file)?;
        let value = config.delegate(Some(&env))?;
        let chain = chain(request.plugins, &config, value.clone())?;
        // Before the delegate runs: if we are killed, DEL needs it.
        let state = StateDir::new(&config.data_dir);
        let saved = state.save(&request.call.attachment, &value)?;
        undo.push(move || file::remove(&saved));
        chain.add(request, undo)
    }

    /// Goes by what ADD has saved, else by the configuration, and by as much of that as makes sense. What was saved
    /// stays until everything is removed.
    fn del(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        let Request {
            call,
            conf,
            plugins,
        } = *request;
        let config = FlannelConfig::for_removal(conf, plugins);
        let state = StateDir::new(&config.data_dir);
        let saved = state.load(&call.attachment);
        let remembered = saved.as_ref().and_then(|saved| saved.conf.clone());
        let remembered = remembered
            .and_then(|value| chain(plugins, &config, with_prev_result(value, conf)).ok());
        let chain = match remembered {
            Some(remembered) => remembered,
            None => chain(plugins, &config, with_prev_result(derive(&config)?, conf))?,
        };
        chain.del(request)?;
        let path = saved.as_ref().map(|saved| saved.path.as_path());
        state.forget(&call.attachment, path, |earlier| {
            earlier["name"] == conf.name && !has_other_interfaces(call)
        })
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        let config = FlannelConfig::parse(request.conf)?;
        let saved = StateDir::new(&config.data_dir).load(&request.call.attachment);
        let value = match saved.and_then(|saved| saved.conf) {
            Some(value) => value,
            None => config.delegate(Some(&subnet_env::read(&config.subnet_file)?))?,
        };
        let value = with_prev_result(value, request.conf);
        chain(request.plugins, &config, value)?.check(request)
    }

    fn gc(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        let conf = request.conf;
        let config = FlannelConfig::for_removal(conf, request.plugins);
        let valid = conf.valid_attachments()?;
        let mut value = derive(&config)?;
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            if let Some(list) = json::get(&conf.raw, key) {
                value[key] = list.clone();
            }
        }
        if removal.step(chain(request.plugins, &config, value)?.gc(request)) {
            StateDir::new(&config.data_dir).retain(&conf.name, &valid)?;
        }
        Ok(())
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        let config = FlannelConfig::parse(request.conf)?;
        let env = subnet_env::read(&config.subnet_file).map_err(|error| CniError {
            kind: Kind::NotAvailable,
            ..error
        })?;
        Delegate::of_conf(request.plugins, config.delegate(Some(&env))?)?.status(request)?;
        agent::runs(&config.run_dir, &config.subnet_file)
    }
}

/// The plugin that the whole is delegated to, and behind it the one that makes host ports, where the runtime hands some
/// over.
fn chain(plugins: Registry, config: &FlannelConfig, delegate: Value) -> Result<Chain, CniError> {
    let delegate = Delegate::of_conf(plugins, delegate)?;
    let host_ports = Delegate::of_name(plugins, "portmap", config.host_ports());
    Ok(Chain::new(delegate, vec![host_ports]))
}

/// Whether the container has interfaces beside the one that was removed. If that is unknown, it may.
fn has_other_interfaces(call: &Call) -> bool {
    let Ok(Some(netns)) = namespace::open_if_there(call) else {
        return call.netns.as_deref().is_some_and(Path::exists);
    };
    let links = netns
        .netlink()
        .ok()
        .and_then(|mut inside| inside.links().ok());
    links.is_none_or(|links| {
        let mut others = links
            .iter()
            .filter(|link| !link.loopback && !is_discarded(link));
        others.any(|link| link.name != call.attachment.ifname)
    })
}

/// The delegate as it would be made now. Without the agent's file it is still enough to remove an attachment.
fn derive(config: &FlannelConfig) -> Result<Value, CniError> {
    let env = subnet_env::read(&config.subnet_file).ok();
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
