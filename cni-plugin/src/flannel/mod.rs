//! `flannel` and `tweed`: turn what the agent says in `subnet.env` into the configuration of another plugin, usually
//! `bridge` with `host-local`, and pass every verb on to it. Host ports, where the runtime hands some over, are made as
//! `portmap` makes them.

mod config;
mod state;

use std::fs;
use std::path::Path;

use config::Config;
use serde_json::Value;
use state::StateDir;
use tweed_overlay::model::subnet_env::SubnetEnv;

use crate::delegate::Delegate;
use crate::file;
use crate::plugin::Plugin;
use crate::portmap;
use crate::spec::error::reason;
use crate::spec::{Call, CniError, CniResult, Context, Kind, NetConf, Verb, json};

/// The plugin.
pub(crate) struct Flannel;

impl Plugin for Flannel {
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

    fn del(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        let config = Config::parse(conf)?;
        let ports = portmap::detach(call, &config.host_ports());
        let saved = StateDir::new(&config.data_dir).load(&call.attachment);
        let remembered = saved.as_ref().and_then(|saved| saved.conf.clone());
        let value = remembered.map_or_else(|| derive(&config), Ok)?;
        let delegate = Delegate::of_conf(with_prev_result(value, conf))?;
        delegate
            .call(call, Verb::Del)
            .context(|| "failed to delegate delete")?;
        let path = saved.as_ref().map(|saved| saved.path.as_path());
        StateDir::new(&config.data_dir).forget(&call.attachment, path)?;
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
        let config = Config::parse(conf)?;
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
        Delegate::of_conf(config.delegate(Some(&env))?)?.call(call, Verb::Status)
    }
}

/// The agent's file. The text of the error is flannel's, since that is what people search for.
fn read_env(path: &Path) -> Result<SubnetEnv, CniError> {
    let text =
        fs::read(path).map_err(|error| format!("open {}: {}", path.display(), reason(&error)));
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
    config.delegate(read_env(&config.subnet_file).ok().as_ref())
}

/// The delegate's configuration with the result that the runtime handed us, in the version that it speaks now.
fn with_prev_result(mut value: Value, conf: &NetConf) -> Value {
    if let Some(result) = json::get(&conf.raw, "prevResult") {
        value["prevResult"] = result.clone();
        value["cniVersion"] = conf.version.name().into();
    }
    value
}
