//! `tweed`: with `mode`, one entry that does a whole pod in one process; without, the same as `flannel`.
//!
//! An entry with `mode` stands for a chain: the plugin that makes the interface, `portmap`, `bandwidth`, `tuning`. Each
//! gets the entry with what is its own, so that results, records and files are those of the chain.

mod config;
mod routed;

use std::fmt::Debug;
use std::path::Path;

use config::{Mode, PodConfig};
use tweed_attach::record::{Record, file_name};
use tweed_model::plugins::BINARY;
use tweed_model::subnet_env::SubnetEnv;

use crate::net::{agent, identity, subnet_env};
use crate::runtime::chain::Chain;
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::{Plugin, Request, Row};
use crate::runtime::removal::Removal;
use crate::runtime::role::Role;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Kind, Verb, Version};
use crate::state::delegates::{DATA_DIR, StateDir};
use crate::state::records::{self, state_dir};

pub(crate) struct Tweed;

/// The plugin that makes the interface without a bridge. It is called by no name of its own.
static ROUTED: Row = Row {
    name: BINARY,
    role: Role::Interface,
    versions: Version::V0_1_0.and_newer(),
    plugin: &routed::Routed,
};

impl Plugin for Tweed {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        if let Some(other) = passed_on(request) {
            return other.configuration(request);
        }
        let config = PodConfig::parse(request.conf, &request.call.args)?;
        let env = subnet_env::example();
        let interface = interface(request, &config, Some(&env))?;
        let ipam = config.ipam(Some(&env))?;
        let mut parts = vec![interface.configuration(request)?];
        for (member, is_wanted) in members(request, &config) {
            match member.configuration(request) {
                Err(error) if !is_wanted && error.kind == Kind::IncompatibleVersion => {}
                part => parts.push(part?),
            }
        }
        let PodConfig {
            mode,
            subnet_file,
            run_dir,
            ..
        } = config;
        Ok(Box::new((mode, subnet_file, run_dir, ipam, parts)))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        if let Some(other) = passed_on(request) {
            return other.add(request, undo);
        }
        let config = PodConfig::parse(request.conf, &request.call.args)?;
        let env = env(&config)?;
        chain(request, &config, env.as_ref())?.add(request, undo)
    }

    /// Needs neither the agent's file nor the mode: each plugin finds what it has made by its owner.
    fn del(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        if let Some(other) = passed_on(request) {
            return other.del(request, removal);
        }
        let config = PodConfig::for_removal(request.conf);
        chain(request, &config, None)?.del(request)?;
        let saved = StateDir::new(Path::new(DATA_DIR));
        saved.forget_of(&request.conf.name, &request.call.attachment)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        if let Some(other) = passed_on(request) {
            return other.check(request);
        }
        let config = PodConfig::parse(request.conf, &request.call.args)?;
        // What the agent's file says of masquerading may have changed since ADD.
        let env = env(&config)?.map(|env| SubnetEnv {
            ip_masq: !is_masqueraded(request),
            ..env
        });
        chain(request, &config, env.as_ref())?.check(request)
    }

    fn gc(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        if let Some(other) = passed_on(request) {
            return other.gc(request, removal);
        }
        let config = PodConfig::for_removal(request.conf);
        let all = chain(request, &config, None)?.gc(request);
        if removal.step(all) {
            let valid = request.conf.valid_attachments()?;
            StateDir::new(Path::new(DATA_DIR)).retain(&request.conf.name, &valid)?;
        }
        Ok(())
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        if let Some(other) = passed_on(request) {
            return other.status(request);
        }
        let config = PodConfig::parse(request.conf, &request.call.args)?;
        let env = env(&config).map_err(|error| CniError {
            kind: Kind::NotAvailable,
            ..error
        })?;
        chain(request, &config, env.as_ref())?.status(request)?;
        match config.needs_env() {
            true => agent::runs(&config.run_dir, &config.subnet_file),
            false => Ok(()),
        }
    }
}

/// The plugin that an entry without a mode passes its work on to.
fn passed_on(request: &Request<'_>) -> Option<&'static dyn Plugin> {
    let flannel = request.plugins.find("flannel")?;
    (!config::is_whole(request.conf)).then_some(flannel.plugin)
}

/// The agent's file, which may be missing where the entry has its subnets from elsewhere.
fn env(config: &PodConfig) -> Result<Option<SubnetEnv>, CniError> {
    match subnet_env::read(&config.subnet_file) {
        Err(error) if config.needs_env() => Err(error),
        env => Ok(env.ok()),
    }
}

fn chain(
    request: &Request<'_>,
    config: &PodConfig,
    env: Option<&SubnetEnv>,
) -> Result<Chain, CniError> {
    let interface = interface(request, config, env)?;
    let members = members(request, config).into_iter();
    let wanted = members.filter_map(|(member, is_wanted)| is_wanted.then_some(member));
    Ok(Chain::new(interface, wanted.collect()))
}

/// The plugin that makes the interface.
fn interface(
    request: &Request<'_>,
    config: &PodConfig,
    env: Option<&SubnetEnv>,
) -> Result<Delegate, CniError> {
    let conf = config.interface(env)?;
    Ok(match config.mode {
        Mode::Bridge => Delegate::of_name(request.plugins, "bridge", conf),
        Mode::Routed => Delegate::of_row(&ROUTED, conf),
    })
}

/// The plugins behind it, and whether the entry has work for them.
fn members(request: &Request<'_>, config: &PodConfig) -> [(Delegate, bool); 3] {
    let of = |name, conf| Delegate::of_name(request.plugins, name, conf);
    let may_publish = config.has_ports() || request.call.verb != Verb::Status;
    [
        (of("portmap", config.given()), may_publish),
        (of("bandwidth", config.given()), config.is_limited()),
        (of("tuning", config.tuning()), config.is_tuned()),
    ]
}

/// Whether the attachment is masqueraded, as far as its record says.
fn is_masqueraded(request: &Request<'_>) -> bool {
    let owner = identity::owner(&request.conf.name, &request.call.attachment);
    let text = records::read(&state_dir(request.conf).join(file_name(&owner)));
    let record = text.as_deref().and_then(Record::parse);
    record.is_some_and(|record| !record.masquerade.is_empty())
}
