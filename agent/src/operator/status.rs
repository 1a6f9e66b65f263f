//! `tweedd status`: what the running agent knows of itself; without one, what is known of it and whether the kernel is as
//! this node would want it. One document for both, and for an agent that doesn't answer.

use std::fmt::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::print;
use crate::config::cli::Output;
use crate::config::options::Options;
use crate::daemon::data_plane::status::DataPlaneStatus;
use crate::daemon::offline;
use crate::daemon::status::{Standing, Status};
use crate::operator::client::Agent;
use crate::runtime;

mod peers;

/// Prints the status. Exit code 0 if the agent runs and is ready, 1 if not.
///
/// # Errors
/// When the agent may not be asked, or standard output can't be written to.
pub fn status(
    options: &Options,
    silent: Option<&str>,
    peers: bool,
    output: Output,
) -> Result<ExitCode> {
    let without = |silent: Option<&str>| {
        runtime::block_on(async { Ok(offline::status(options, silent).await) })
    };
    let status = match (silent, Agent::connect(&options.host.socket)?) {
        (None, Some(agent)) => match ask(agent, peers) {
            Ok(status) => status,
            Err(error) => without(Some(&format!("the agent does not answer: {error:#}")))?,
        },
        (None, None) => without(None)?,
        (Some(_), _) => without(silent)?,
    };
    print::print(output, &status, || Words(&status).to_string())?;
    Ok(match status.ready {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn ask(agent: Agent, peers: bool) -> Result<Status> {
    let path = match peers {
        true => "/v1/status/peers",
        false => "/v1/status",
    };
    serde_json::from_str(&agent.ask("GET", path)?).context("read the agent's answer")
}

/// The status for people.
struct Words<'a>(&'a Status);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        let subnets = list(status.subnets.values());
        let public = list(status.public.values());
        // One that doesn't answer says nothing of itself.
        let answers = status.pid.filter(|_| !status.silent);
        match status.pid {
            Some(pid) if status.silent => {
                row(f, "agent", format!("pid {pid}, does not answer"))?;
            }
            Some(pid) => row(f, "agent", format!("tweedd {}, pid {pid}", status.version))?,
            None if status.silent => row(f, "agent", "does not answer")?,
            None => row(f, "agent", "none, as far as this command can tell")?,
        }
        row(
            f,
            "network",
            format!("{}, leases from {}", status.network_name, status.store),
        )?;
        row(
            f,
            "lease",
            match (&status.lease, answers) {
                (Standing::None, _) => "none yet".to_owned(),
                (Standing::Saved, None) => format!("{subnets} (as it was held last)"),
                (lease, _) => format!("{subnets} ({})", standing(lease)),
            },
        )?;
        if let Some(uplink) = &status.uplink {
            row(f, "uplink", format!("{uplink}, announced as {public}"))?;
        }
        if let Some(backend) = &status.backend {
            let mtu = status
                .mtu
                .map_or_else(String::new, |mtu| format!(", pod MTU {mtu}"));
            let accepts = match &status.accepts[..] {
                [] => String::new(),
                accepts => format!(", accepts {}", accepts.join(", ")),
            };
            row(f, "backend", format!("{backend}{accepts}{mtu}"))?;
        }
        if answers.is_some() {
            let sync = if status.in_sync {
                "in sync"
            } else {
                "not in sync"
            };
            let held = match status.kernel.held_peers {
                0 => String::new(),
                held => format!(" and {held} that stay though the store lacks them"),
            };
            let peers = format!("{}{held}, {sync} with the store", status.peers);
            row(f, "peers", peers)?;
            kernel(f, status)?;
            if let Some(nexthops) = status.nexthops {
                row(f, "routes", routes(nexthops))?;
            }
        }
        if answers.is_some() {
            let sandbox = match &status.sandbox[..] {
                [] => "off".to_owned(),
                parts => parts.join(", "),
            };
            row(f, "sandbox", sandbox)?;
        }
        if let Some(trust) = &status.trust {
            row(f, "trust", trusted(trust))?;
        }
        if let Some(checksum) = &status.tx_checksum {
            row(f, "checksum", checksum)?;
        }
        if let Some(plane) = &status.data_plane {
            data_plane(f, plane)?;
        }
        if let Some(file) = &status.subnet_file {
            row(f, "CNI", file)?;
        }
        if let Some(cni) = &status.cni {
            for line in cni.list.iter().chain(&cni.warnings) {
                row(f, "", line)?;
            }
        }
        for warning in &status.warnings {
            row(f, "warning", &warning.text)?;
        }
        for lease in &status.refused {
            row(f, "refused", format!("{}: {}", lease.lease, lease.reason))?;
        }
        for (key, text) in &status.reserved {
            row(f, "reserved", format!("{key}: {text}"))?;
        }
        for reason in &status.host {
            row(f, "host", reason)?;
        }
        for (key, reason) in &status.broken {
            row(f, "ignored", format!("{key}: {reason}"))?;
        }
        if status.more_bad_entries > 0 {
            row(
                f,
                "",
                format!("and {} more entries", status.more_bad_entries),
            )?;
        }
        row(f, "ready", if status.ready { "yes" } else { "no" })?;
        for reason in &status.not_ready {
            row(f, "", reason)?;
        }
        if let Some(list) = &status.peer_list {
            f.write_char('\n')?;
            f.write_str(&peers::words(list, status.peers_left_out))?;
        }
        Ok(())
    }
}

fn trusted(trust: &str) -> &str {
    match trust {
        "subnets" => "VXLAN packets of peers, from their own subnets",
        "peers" => "VXLAN packets of peers, from any source",
        "anyone" => "VXLAN packets of anyone",
        other => other,
    }
}

fn routes(nexthops: bool) -> &'static str {
    match nexthops {
        true => "of IPv4 to peers lead by nexthop objects: `nhid` in `ip route`, and `ip nexthop`",
        false => "plain: this kernel has no nexthop objects (they came with Linux 5.3)",
    }
}

fn kernel(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    let kernel = &status.kernel;
    let state = if kernel.programmed {
        "as wanted"
    } else {
        "not as wanted"
    };
    let milliseconds = kernel.last_full_seconds * 1000.0;
    let (changes, failures) = (kernel.changes, kernel.failures);
    let last = match kernel.full_passes {
        0 => String::new(),
        _ => format!("; last full pass {milliseconds:.1} ms"),
    };
    let what = format!("{state}; {changes} changes, {failures} failures{last}");
    row(f, "kernel", what)?;
    if let Some(repair) = &kernel.last_repair {
        row(
            f,
            "",
            match kernel.repairs {
                1 => format!("1 repair: {repair}"),
                repairs => format!("{repairs} repairs, the last one: {repair}"),
            },
        )?;
    }
    for (object, times) in &kernel.fights {
        row(
            f,
            "fight",
            format!("another program keeps changing {object} (seen {times} times)"),
        )?;
    }
    Ok(())
}

fn data_plane(f: &mut fmt::Formatter<'_>, plane: &DataPlaneStatus) -> fmt::Result {
    let (sent, delivered) = (plane.sent.packets, plane.delivered.packets);
    let dropped: u64 = plane.dropped.values().sum();
    let words =
        format!("{sent} packets sent to other nodes, {delivered} given to pods, {dropped} dropped");
    row(f, "carried", words)?;
    for (reason, count) in &plane.dropped {
        let hint = match reason.as_str() {
            "unknown_sender" => {
                " (not by an address that a node announces; who moves behind a NAT is not followed)"
            }
            _ => "",
        };
        row(f, "", format!("dropped for {reason}: {count}{hint}"))?;
    }
    for (at, count) in plane.errors.iter().filter(|(_, count)| **count > 0) {
        row(f, "", format!("errors at {at}: {count}"))?;
    }
    let off: Vec<&str> = plane
        .offloads
        .iter()
        .filter_map(|(name, on)| (!on).then_some(name.as_str()))
        .collect();
    if !off.is_empty() {
        let off = off.join(", ");
        row(
            f,
            "",
            format!("offloads that the kernel does not have: {off}"),
        )?;
    }
    if plane.damaged > 0 {
        let words =
            "UDP datagrams came damaged, by any sender: its kernel or network card, most often";
        row(f, "", format!("{} {words}", plane.damaged))?;
    }
    for (offload, reason) in &plane.reasons {
        row(f, "", format!("{offload}: {reason}"))?;
    }
    for peer in plane.sent_singly() {
        let reason = peer.singly.as_deref().unwrap_or_default();
        row(
            f,
            "",
            format!("{} gets single datagrams: {reason}", peer.endpoint),
        )?;
    }
    for peer in plane.peers.iter().filter(|peer| peer.traffic.refused > 0) {
        let (endpoint, refused) = (peer.endpoint, peer.traffic.refused);
        row(f, "", format!("{endpoint} refused {refused} datagrams"))?;
    }
    Ok(())
}

fn standing(standing: &Standing) -> String {
    match standing {
        Standing::None => "none yet".to_owned(),
        Standing::Saved => "saved, not confirmed by the store yet".to_owned(),
        Standing::Held => "held".to_owned(),
        Standing::Unsure(reason) => format!("store out of reach: {reason}"),
        Standing::Lost(reason) => format!("lost: {reason}"),
        Standing::Taken(by) => by.clone(),
    }
}

fn list<T: ToString>(values: impl Iterator<Item = T>) -> String {
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    if values.is_empty() {
        "none".to_owned()
    } else {
        values.join(", ")
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    f.write_fmt(format_args!("{name:<9}{value}"))?;
    f.write_char('\n')
}
