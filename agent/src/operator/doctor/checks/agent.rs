//! What the agent knows of itself, its store and its peers.

use tweed_probe::health::State;

use super::count;
use crate::daemon::status::Standing;
use crate::operator::doctor::facts::Facts;
use crate::operator::doctor::finding::Verdict;

pub fn runs(facts: &Facts) -> Verdict {
    let status = &facts.status;
    match (status.pid, status.silent) {
        (Some(pid), false) => {
            let version = &status.version;
            let own = tweed_model::VERSION;
            match version == own {
                true => Verdict::ok(format!("tweedd {version} answers, pid {pid}")),
                false => Verdict::info(format!(
                    "tweedd {version} answers, pid {pid}; this command is of version {own}"
                )),
            }
        }
        (_, true) => Verdict::fail(
            "an agent runs and does not answer",
            "look at its log (`journalctl -u tweedd`, `kubectl -n kube-tweed logs`), then restart it: pods keep their network meanwhile",
        ),
        (None, false) => Verdict::fail(
            "no agent runs here",
            "start it (`systemctl start tweedd`; in Kubernetes look at `kubectl -n kube-tweed get pods -o wide`); what keeps it from starting stands in its log",
        ),
    }
}

/// For what only a running agent knows.
fn asks_agent(facts: &Facts) -> Option<Verdict> {
    (!facts.answers()).then(|| Verdict::unknown("only a running agent knows"))
}

pub fn store(facts: &Facts) -> Verdict {
    let status = &facts.status;
    if let Some(unknown) = asks_agent(facts) {
        return unknown;
    }
    match &status.store_error {
        Some(error) => Verdict::fail(
            format!("{} is out of reach: {error}", status.store),
            "the network goes on with what is known; mend the store or the way to it before nodes change",
        ),
        None if !status.in_sync => Verdict::fail(
            match &status.waiting {
                Some(reason) => {
                    format!("no full list has come from {} yet: {reason}", status.store)
                }
                None => format!("no full list has come from {} yet", status.store),
            },
            "wait a minute; then look at the agent's log for what the store answers",
        ),
        None => Verdict::ok(format!(
            "{} is within reach, its list up to date",
            status.store
        )),
    }
}

pub fn lease(facts: &Facts) -> Verdict {
    let status = &facts.status;
    let subnets: Vec<String> = status.subnets.values().map(ToString::to_string).collect();
    let subnets = subnets.join(", ");
    match &status.lease {
        Standing::Held => Verdict::ok(format!("{subnets} is held")),
        Standing::None => Verdict::fail(
            status
                .waiting
                .clone()
                .unwrap_or_else(|| "this node has no subnet".to_owned()),
            "mend what it waits for; `tweedd config check` tests the network configuration in the store",
        ),
        Standing::Saved if !facts.answers() => Verdict::info(format!(
            "{subnets} was held last; without an agent nobody renews it"
        )),
        Standing::Saved => Verdict::warn(
            format!("{subnets} is not confirmed by the store yet"),
            "mend the way to the store",
        ),
        Standing::Unsure(reason) => Verdict::warn(
            format!("{subnets} can't be renewed: {reason}"),
            "mend the way to the store before the lease runs out (a day, unless --lease-ttl says otherwise)",
        ),
        Standing::Lost(reason) => Verdict::fail(
            format!("the lease is lost: {reason}"),
            "the agent takes another subnet where it can; pods of the earlier one are to be deleted then",
        ),
        Standing::Taken(by) => Verdict::fail(
            by.clone(),
            "two hosts use one identity: give one of them a machine-id, node name or address of its own",
        ),
    }
}

pub fn entries(facts: &Facts) -> Verdict {
    let status = &facts.status;
    if let Some(unknown) = asks_agent(facts) {
        return unknown;
    }
    match status.broken.len() + status.more_bad_entries {
        0 => Verdict::ok("all entries of the store can be read"),
        number => Verdict::warn(
            format!(
                "{} of the store can't be read",
                count(number, "entry", "entries")
            ),
            "mend or delete the entry; its node writes it again if it is alive",
        )
        .because(
            status
                .broken
                .iter()
                .map(|(key, reason)| format!("{key}: {reason}")),
        ),
    }
}

pub fn refused(facts: &Facts) -> Verdict {
    let status = &facts.status;
    if let Some(unknown) = asks_agent(facts) {
        return unknown;
    }
    match status.refused.len() {
        0 => Verdict::ok(count(status.peers, "node is a peer", "nodes are peers")),
        number => Verdict::warn(
            format!("{} refused", count(number, "node's lease is", "nodes' leases are")),
            "mend what the reason names on that node, or remove its lease with `tweedd leases release` if it is gone",
        )
        .because(status.refused.iter().map(|one| format!("{}: {}", one.lease, one.reason))),
    }
}

pub fn held(facts: &Facts) -> Verdict {
    if let Some(unknown) = asks_agent(facts) {
        return unknown;
    }
    match &facts.status.kernel.held {
        None => Verdict::ok("no deletion is held back"),
        Some(held) => Verdict::warn(
            held.clone(),
            "if the store is right, `tweedd confirm`; if not, restore it: nothing is lost meanwhile",
        ),
    }
}

pub fn other(facts: &Facts) -> Verdict {
    if let Some(unknown) = asks_agent(facts) {
        return unknown;
    }
    let warnings = facts.status.warnings.iter();
    let found: Vec<&str> = warnings
        .filter(|warning| warning.kind == "flanneld")
        .map(|warning| warning.text.as_str())
        .collect();
    match found[..] {
        [] => Verdict::ok("no flanneld runs beside the agent"),
        [first, ..] => Verdict::warn(first, "stop one of the two"),
    }
}

pub fn fights(facts: &Facts) -> Verdict {
    if let Some(unknown) = asks_agent(facts) {
        return unknown;
    }
    let fights = &facts.status.kernel.fights;
    match fights.len() {
        0 => Verdict::ok("nobody else keeps changing what the agent puts right"),
        number => Verdict::warn(
            format!("another program keeps changing {}", count(number, "object", "objects")),
            "find it (systemd-networkd, NetworkManager, a configuration tool) and have it leave our objects alone",
        )
        .because(fights.iter().map(|(object, times)| format!("{object}: {times} times"))),
    }
}

pub fn kernel_state(facts: &Facts) -> Verdict {
    let status = &facts.status;
    if !status.kernel.failed.is_empty() {
        return Verdict::fail(
            "the kernel refused what this node needs",
            "mend what the error names",
        )
        .because(&status.kernel.failed);
    }
    let due = match &facts.due {
        Err(reason) => return Verdict::unknown(reason),
        Ok(due) => due,
    };
    let all: Vec<&String> = due.puts.iter().chain(&due.deletes).collect();
    match (all.len(), facts.answers()) {
        (0, _) => {
            let repaired = status.kernel.last_repair.as_ref();
            let repaired = repaired.map_or_else(String::new, |repair| {
                format!("; last repair: {}", repair.what)
            });
            Verdict::ok(format!("the kernel is as wanted{repaired}"))
        }
        // The agent had not answered that it was done; it may be at it.
        (_, true) if status.kernel.programmed && status.kernel.held.is_none() => {
            Verdict::info("changes have just become due").because(all)
        }
        (_, true) if status.kernel.held.is_some() => {
            Verdict::ok("as wanted, but for what is held back")
        }
        (number, true) => Verdict::fail(
            format!("{} due", count(number, "change is", "changes are")),
            "look at the agent's log for what keeps it from making them",
        )
        .because(all),
        (number, false) => Verdict::fail(
            format!(
                "{} due, and no agent makes them",
                count(number, "change is", "changes are")
            ),
            "start the agent",
        )
        .because(all),
    }
}

pub fn uplink(facts: &Facts) -> Verdict {
    let status = &facts.status;
    if let Some(reason) = &status.no_uplink {
        return Verdict::fail(
            reason.clone(),
            "mend the host's network, or name an interface with --iface",
        );
    }
    let Some(name) = status.uplink.as_deref() else {
        return Verdict::unknown("none was chosen yet");
    };
    let net = match &facts.net {
        Err(reason) => return Verdict::unknown(reason),
        Ok(net) => net,
    };
    let Some(link) = net.link(name) else {
        return Verdict::fail(
            format!("the interface {name} is not there"),
            "mend the host's network, or name another interface with --iface",
        );
    };
    if !link.up || !link.carrier {
        let what = if link.up { "has no carrier" } else { "is down" };
        return Verdict::fail(
            format!("{name} {what}"),
            format!(
                "`ip link set {name} up`; look at the cable, the switch, or the hypervisor's network"
            ),
        );
    }
    Verdict::ok(format!("{name} is up"))
}

pub fn data_plane(facts: &Facts) -> Verdict {
    let status = &facts.status;
    if let Some(error) = &status.data_plane_error {
        return Verdict::fail(
            error.clone(),
            "mend what it names; the agent tries again by itself",
        );
    }
    let Some(plane) = &status.data_plane else {
        return Verdict::skipped("the kernel carries the packets");
    };
    let reasons: Vec<String> = plane
        .reasons
        .iter()
        .map(|(offload, reason)| format!("{offload}: {reason}"))
        .collect();
    match reasons.is_empty() {
        true => Verdict::ok(format!(
            "{} packets sent, {} given to pods",
            plane.sent.packets, plane.delivered.packets
        )),
        false => Verdict::info("it carries packets, but not at full speed").because(reasons),
    }
}

pub fn ready(facts: &Facts) -> Verdict {
    let status = &facts.status;
    match (facts.answers(), status.ready) {
        (false, _) => Verdict::unknown("only a running agent knows"),
        (true, true) => Verdict::ok("yes"),
        (true, false) => {
            let first = status.not_ready.first().cloned().unwrap_or_default();
            Verdict::fail(first, "mend what it names").because(status.not_ready.iter().skip(1))
        }
    }
}

pub fn peers(facts: &Facts) -> Verdict {
    let status = &facts.status;
    if let Some(unknown) = asks_agent(facts) {
        return unknown;
    }
    if status.peers == 0 {
        return Verdict::skipped("there is no other node");
    }
    if status.peer_states.is_empty() {
        return Verdict::info("the other nodes are not asked (--probes)");
    }
    let number = |test: fn(State) -> bool| -> usize {
        let states = status.peer_states.iter();
        states
            .filter(|(state, _)| test(**state))
            .map(|(_, count)| count)
            .sum()
    };
    let (lost, bad) = (number(State::is_lost), number(State::is_bad));
    let all: usize = number(|_| true);
    let Some(worst) = status.bad_peers.first() else {
        return Verdict::ok(format!("{all} of {all} answer, as far as they were asked"));
    };
    let evidence = status.bad_peers.iter().map(|peer| {
        let public: Vec<String> = peer.public.values().map(ToString::to_string).collect();
        let subnets: Vec<String> = peer.subnets.values().map(ToString::to_string).collect();
        let note = peer.probe.note.as_deref().unwrap_or_default();
        format!("{} ({}): {note}", public.join(" "), subnets.join(" "))
    });
    let remedy = match worst.probe.state {
        State::NoAnswerByTunnel => {
            "let the tunnel's UDP port through between the two hosts: look at `tweedd doctor` on the other one, then at security groups and firewalls on the way"
        }
        State::MtuReduced => {
            "set `MTU` in the network configuration's Backend to what gets through, or mend the path's MTU"
        }
        _ => {
            "look whether that host runs and is within reach; if it is gone for good, release its lease (`tweedd leases release`)"
        }
    };
    match lost {
        0 => Verdict::warn(
            format!("packets of the pods' size don't reach {}", of(bad, all)),
            remedy,
        ),
        _ => Verdict::fail(
            match &worst.probe.note {
                Some(note) => format!("no answer from {}: {note}", of(lost, all)),
                None => format!("no answer from {}", of(lost, all)),
            },
            remedy,
        ),
    }
    .because(evidence)
}

fn of(number: usize, all: usize) -> String {
    format!("{number} of {}", count(all, "other node", "other nodes"))
}
