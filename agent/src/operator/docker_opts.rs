//! `tweedd docker-opts`: Docker's options for this node's subnet, as flannel's `mk-docker-opts.sh` writes them.
//!
//! Same options, same output. Different on purpose: a value of the environment keeps its blanks, a relative path is
//! one, and nothing is written when the subnet turns out to be routed to another host.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Serialize;
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_model::Family;
use tweed_model::subnet_env::PreviousSubnets;
use tweed_netlink::{Netlink, RouteFilter, TABLE_MAIN};

use crate::config::cli::DockerOptsArgs;
use crate::files::atomic;

use super::print;

/// Prefix of the variables that hold one option each. Such variables in the environment are taken over.
const PREFIX: &str = "DOCKER_OPT_";

/// Result of the command.
#[derive(Debug, Serialize)]
struct Written<'a> {
    file: &'a Path,
    options: BTreeMap<String, String>,
}

/// Writes Docker's options to the file.
///
/// # Errors
/// If `subnet.env` can't be understood, the subnet is routed to another host, or the file can't be written. What was
/// there before stays then.
pub fn docker_opts(args: &DockerOptsArgs, subnet_file: &Path) -> anyhow::Result<()> {
    let there = bounded_file::read_text(subnet_file, Links::Followed, 64 * KIB);
    let subnet_env = match there {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // As flannel's script does; but Docker then takes a network of its own.
            eprintln!(
                "tweedd: there is no {}: the options are without --bip, and Docker takes another subnet than this node's",
                subnet_file.display()
            );
            None
        }
        Err(error) => {
            return Err(error).with_context(|| format!("read {}", subnet_file.display()));
        }
    };
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let options = options(subnet_env.as_deref(), args, &environment)
        .with_context(|| format!("in {}", subnet_file.display()))?;
    let subnet_env = subnet_env.unwrap_or_default();
    refuse_foreign_route(&subnet_env)?;
    let kept = match same_file(subnet_file, &args.docker_env) {
        true => agents_lines(&subnet_env),
        false => String::new(),
    };
    let text = kept + &render(&options);
    atomic::replace(&args.docker_env, text.as_bytes(), 0o644)?;
    let written = Written {
        file: &args.docker_env,
        options,
    };
    print::print(args.output.output, &written, String::new)
}

/// Unit files written for flannel have the options put over `subnet.env`, and Docker read them there. The agent's own
/// lines stay in it then, in front; the agent leaves what follows them alone as long as they are right.
fn agents_lines(subnet_env: &str) -> String {
    let lines = subnet_env.lines();
    let ours = lines.filter(|line| line.starts_with("FLANNEL_"));
    ours.map(|line| format!("{line}\n")).collect()
}

fn same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    one == other || real(one).is_some_and(|one| real(other) == Some(one))
}

/// The variables to write, by name.
fn options(
    subnet_env: Option<&str>,
    args: &DockerOptsArgs,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let single = single(subnet_env.unwrap_or_default(), args, environment)?;
    let both = args.individual == args.combined;
    let mut options = BTreeMap::new();
    if args.combined || both {
        let mut line = environment
            .get(&args.key)
            .filter(|value| !value.is_empty())
            .map_or_else(String::new, |value| format!("{value} "));
        for value in single.values() {
            line += &format!(" {value}");
        }
        options.insert(args.key.clone(), line);
    }
    if args.individual || both {
        options.extend(single);
    }
    Ok(options)
}

/// One variable an option: those of the environment, and ours.
fn single(
    subnet_env: &str,
    args: &DockerOptsArgs,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut options: BTreeMap<String, String> = environment
        .iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut set = |name: &str, value: String| options.insert(format!("{PREFIX}{name}"), value);
    for (key, value) in subnet_env.lines().filter_map(|line| line.split_once('=')) {
        match (key.trim(), unquoted(value)) {
            (_, "") => None,
            ("FLANNEL_SUBNET", subnet) => set("BIP", format!("--bip={subnet}")),
            ("FLANNEL_MTU", mtu) => set("MTU", format!("--mtu={mtu}")),
            ("FLANNEL_IPMASQ", _) if args.no_ip_masq => None,
            // Docker masquerades exactly when the agent doesn't.
            ("FLANNEL_IPMASQ", "true") => set("IPMASQ", "--ip-masq=false".to_owned()),
            ("FLANNEL_IPMASQ", "false") => set("IPMASQ", "--ip-masq=true".to_owned()),
            ("FLANNEL_IPMASQ", other) => bail!("FLANNEL_IPMASQ is {other:?}, not true or false"),
            _ => None,
        };
    }
    Ok(options)
}

/// Refuses a subnet that the routing table sends elsewhere: Docker would give out addresses that lead to another host.
fn refuse_foreign_route(subnet_env: &str) -> anyhow::Result<()> {
    let subnets = PreviousSubnets::parse(subnet_env).subnets;
    let Some(subnet) = subnets.v4 else {
        return Ok(());
    };
    let filter = RouteFilter {
        family: Family::V4,
        table: Some(TABLE_MAIN),
    };
    let routes = Netlink::open()
        .context("open a netlink socket")?
        .routes(&filter)?;
    let foreign = routes
        .iter()
        .find(|route| route.dst.trunc() == subnet && route.gateway.is_some());
    match foreign.and_then(|route| route.gateway) {
        Some(gateway) => bail!(
            "the routing table sends {subnet}, the subnet of this node, to {gateway}; remove that route, or the subnet.env if it is stale"
        ),
        None => Ok(()),
    }
}

fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let quoted = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    quoted('"').or_else(|| quoted('\'')).unwrap_or(value)
}

/// The individual variables first, then the combined one, as the script writes them.
fn render(options: &BTreeMap<String, String>) -> String {
    let (single, combined): (Vec<_>, Vec<_>) = options
        .iter()
        .partition(|(name, _)| name.starts_with(PREFIX));
    let mut text = String::new();
    for (name, value) in single.into_iter().chain(combined) {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        // Writing to a string never fails.
        let _ = writeln!(text, "{name}=\"{quoted}\"");
    }
    text
}

#[cfg(test)]
mod tests;
