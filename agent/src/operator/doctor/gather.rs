//! Reads the facts. Nothing here waits for longer than a few seconds, whatever the agent, the store and the disk do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use tweed_host::bounded_file::{self, Links, MIB};
use tweed_host::sysctl;
use tweed_kernel::firewall::{Asked, Hindrance, hindrances};
use tweed_model::subnet_env::SubnetEnv;
use tweed_model::{Family, NetworkConfig};
use tweed_netlink::{Netfilter, Netlink, RouteFilter};

use super::checks::host::SWITCHES;
use super::facts::{Counters, Facts, Net, Read};
use crate::config::options::{Options, StoreOptions};
use crate::daemon::answers::Preview;
use crate::daemon::offline;
use crate::daemon::saved;
use crate::daemon::status::Status;
use crate::files::state_dir::StateDir;
use crate::operator::client::Agent;
use crate::runtime;

mod counters;
mod files;
mod surroundings;

/// What the agent, or the store without one, may take.
const LIMIT: Duration = Duration::from_secs(4);
/// Between the two looks at the counters.
const BETWEEN: Duration = Duration::from_secs(1);

/// Reads everything.
pub fn gather(options: &Options, silent: Option<&str>) -> Facts {
    let before = counters::read(Path::new("/proc"));
    let asked = ask_in_background(options, silent);
    thread::sleep(BETWEEN);
    let counters = [before, counters::read(Path::new("/proc"))];
    let late = || {
        let seconds = LIMIT.as_secs();
        let text = format!("neither agent nor store has answered within {seconds} s");
        let mut status = Status::unknown(options);
        status.not_ready.push(text.clone());
        (status, Err(text))
    };
    let (status, due) = asked
        .recv_timeout(LIMIT.saturating_sub(BETWEEN))
        .unwrap_or_else(|_| late());
    of(options, counters, status, due)
}

fn of(options: &Options, counters: [Counters; 2], status: Status, due: Read<Preview>) -> Facts {
    let networks = networks(options);
    let modules = files::modules(Path::new("/"));
    let net = net(&status);
    Facts {
        network_name: options.host.instance.to_string(),
        kubernetes: matches!(options.store, StoreOptions::Kube(_)),
        subnet_file: options.host.subnet_file.clone(),
        surroundings: surroundings::read(options, &status, &net),
        net,
        hindrances: packet_filter(options, &status, &networks),
        switches: switches(),
        counters,
        modules,
        subnet_env: subnet_env(&options.host.subnet_file),
        runtime: files::runtime(options.cni.as_ref()),
        udp_ports: counters::udp_ports(Path::new("/proc")),
        pools: files::pools(Path::new("/var/lib/cni/networks"), &status),
        due,
        networks,
        status,
    }
}

/// Asks the agent, or does without. The answer comes by the channel, if it comes.
fn ask_in_background(
    options: &Options,
    silent: Option<&str>,
) -> mpsc::Receiver<(Status, Read<Preview>)> {
    let (sender, receiver) = mpsc::channel();
    let (options, silent) = (options.clone(), silent.map(str::to_owned));
    thread::spawn(move || {
        // Nobody receives it any more where it comes too late.
        let _ = sender.send(ask(&options, silent.as_deref()));
    });
    receiver
}

fn ask(options: &Options, silent: Option<&str>) -> (Status, Read<Preview>) {
    let agent = || {
        let agent = Agent::connect(&options.host.socket)?;
        anyhow::Ok(agent.map(|agent| agent.within(LIMIT)))
    };
    let answer = |path: &str| match agent()? {
        Some(agent) => agent.ask("GET", path).map(Some),
        None => Ok(None),
    };
    let from_agent = || {
        let Some(status) = answer("/v1/status/peers")? else {
            return Ok(None);
        };
        let status: Status = serde_json::from_str(&status)?;
        let due = answer("/v1/plan").map_err(|error| format!("{error:#}"));
        let due = due.and_then(|text| match text {
            Some(text) => serde_json::from_str(&text).map_err(|error| error.to_string()),
            None => Err("the agent has just ended".to_owned()),
        });
        anyhow::Ok(Some((status, due)))
    };
    let silent = match silent {
        Some(silent) => Some(silent.to_owned()),
        None => match from_agent() {
            Ok(Some(answer)) => return answer,
            Ok(None) => None,
            Err(error) => Some(format!("the agent does not answer: {error:#}")),
        },
    };
    without_agent(options, silent.as_deref())
}

fn without_agent(options: &Options, silent: Option<&str>) -> (Status, Read<Preview>) {
    let status = async { Ok(offline::status(options, silent).await) };
    let mut status = runtime::block_on(status).unwrap_or_else(|error: anyhow::Error| {
        let mut status = Status::unknown(options);
        status.not_ready.push(format!("{error:#}"));
        status
    });
    let due = match status.drift.take() {
        Some(drift) => Ok(drift),
        None => Err(status.not_ready.last().cloned().unwrap_or_default()),
    };
    (status, due)
}

/// The pod networks, as the agent has saved them.
fn networks(options: &Options) -> Vec<IpNet> {
    let state = StateDir::at(&options.host.state_dir);
    let lease = saved::lease(&state);
    let config = lease.and_then(|lease| NetworkConfig::parse(&lease.config).ok());
    let pools = config.map(|(config, _)| config.pools);
    pools.map_or_else(Vec::new, |pools| {
        pools.values().map(|pool| pool.network).collect()
    })
}

fn net(status: &Status) -> Read<Net> {
    let read = || {
        let mut netlink = Netlink::open()?;
        let mut net = Net {
            links: netlink.links()?,
            addrs: netlink.addrs(None)?,
            ..Net::default()
        };
        for family in Family::BOTH {
            let table = None;
            let routes = netlink.routes(&RouteFilter { family, table })?;
            net.routes.extend(routes);
            net.neighs.extend(netlink.all_neighs(family)?);
        }
        for peer in status.peer_list.iter().flatten() {
            for addr in peer.public.values() {
                net.underlay.push((*addr, netlink.route_to(*addr)?));
            }
            for subnet in peer.subnets.values() {
                let first = subnet.hosts().next().unwrap_or(subnet.network());
                net.paths.push((*subnet, netlink.route_to(first)?));
            }
        }
        anyhow::Ok(net)
    };
    read().map_err(|error| format!("{error:#}"))
}

fn packet_filter(options: &Options, status: &Status, networks: &[IpNet]) -> Read<Vec<Hindrance>> {
    let uplink = status.uplink.as_deref().unwrap_or_default();
    let own = options.host.instance.to_string();
    let asked = Asked {
        own: &own,
        networks,
        accepts: options.firewall.forward_rules,
        tunnels: Vec::new(),
        uplink,
        leftovers: true,
    };
    let read = || {
        let mut socket = Netfilter::open()?;
        anyhow::Ok(hindrances(&mut socket, &asked)?)
    };
    read().map_err(|error| format!("the packet filter can't be read: {error:#}"))
}

fn switches() -> BTreeMap<&'static str, Read<Option<String>>> {
    let read = |key| sysctl::read(key).map_err(|error| format!("{key}: {error}"));
    SWITCHES.iter().map(|key| (*key, read(key))).collect()
}

fn subnet_env(file: &Path) -> Read<Option<SubnetEnv>> {
    if !file.exists() {
        return Ok(None);
    }
    let text = bounded_file::read(file, Links::Followed, MIB);
    let text = text.and_then(bounded_file::text);
    let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
    let parsed = SubnetEnv::parse(&text);
    parsed
        .map(Some)
        .map_err(|error| format!("{}: {error}", file.display()))
}
