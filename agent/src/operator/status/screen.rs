//! The status for people: first what is wrong, then what there is.

use std::fmt::{self, Write};

use super::data_plane::data_plane;
use super::peers;
use super::rows::{list, row};
use super::teller::answers;
use super::trouble::trouble;
use crate::daemon::status::{BridgeStatus, Standing, Status};
use crate::operator::times::ago;

/// The screen at a time in seconds since 1970; with `all`, what is as it should be has rows too.
pub struct Screen<'a> {
    pub status: &'a Status,
    pub all: bool,
    pub now: u64,
}

impl fmt::Display for Screen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status;
        trouble(f, status, self.now)?;
        if self.all {
            row(f, "network", &status.network_name)?;
        }
        row(f, "store", self.store())?;
        row(f, "lease", self.lease())?;
        if let Some(uplink) = &status.uplink {
            row(f, "uplink", self.uplink(uplink))?;
        }
        if let Some(backend) = &status.backend {
            row(f, "backend", backend_words(status, backend))?;
        }
        for bridge in &status.bridges {
            row(f, "bridge", bridge_words(bridge))?;
        }
        if answers(status) {
            row(f, "peers", peers_words(status))?;
            row(f, "kernel", self.kernel())?;
        }
        if let Some(plane) = &status.data_plane {
            data_plane(f, plane)?;
        }
        if self.all {
            as_it_should_be(f, status)?;
        }
        if let Some(list) = &status.peer_list {
            f.write_char('\n')?;
            f.write_str(&peers::listed(list, status.peers_left_out, self.now))?;
        } else if !status.bad_peers.is_empty() {
            f.write_char('\n')?;
            f.write_str(&peers::bad(&status.bad_peers, self.now))?;
        }
        Ok(())
    }
}

impl Screen<'_> {
    /// With when it answered last.
    fn store(&self) -> String {
        let answered = self.status.store_answered.filter(|_| answers(self.status));
        let answered = answered.map(|at| format!(", last answered {} ago", ago(at, self.now)));
        store(self.status) + &answered.unwrap_or_default()
    }

    /// With when it was renewed.
    fn lease(&self) -> String {
        let renewed = self.status.lease_renewed.filter(|_| answers(self.status));
        let renewed = renewed.map(|at| format!(", renewed {} ago", ago(at, self.now)));
        lease(self.status) + &renewed.unwrap_or_default()
    }

    fn uplink(&self, uplink: &str) -> String {
        let status = self.status;
        let state = match (answers(status), &status.no_uplink) {
            (false, _) => "",
            (true, None) => " up",
            (true, Some(_)) => " not usable",
        };
        let mtu = status.uplink_mtu;
        let mtu = mtu.map_or_else(String::new, |mtu| format!(", MTU {mtu}"));
        format!(
            "{uplink}{state}, announced as {}{mtu}",
            list(status.public.values())
        )
    }

    fn kernel(&self) -> String {
        let kernel = &self.status.kernel;
        let state = match kernel.programmed {
            true => "as wanted",
            false => "not as wanted",
        };
        let checked = kernel.checked;
        let checked = checked.map(|at| format!(", checked {} ago", ago(at, self.now)));
        let repair = kernel.last_repair.as_ref().map(|repair| {
            let when = repair.at.map(|at| format!(" {} ago", ago(at, self.now)));
            format!("; last repair{}: {}", when.unwrap_or_default(), repair.what)
        });
        format!(
            "{state}{}{}",
            checked.unwrap_or_default(),
            repair.unwrap_or_default()
        )
    }
}

fn store(status: &Status) -> String {
    let store = &status.store;
    match (answers(status), &status.store_error) {
        (false, _) => store.clone(),
        (true, Some(error)) => format!("{store}, not in sync: {error}"),
        (true, None) if status.in_sync => format!("{store}, in sync"),
        (true, None) => format!("{store}, not in sync"),
    }
}

fn lease(status: &Status) -> String {
    let subnets = list(status.subnets.values());
    match &status.lease {
        Standing::None => "none yet".to_owned(),
        Standing::Saved if !answers(status) => format!("{subnets} (as it was held last)"),
        Standing::Saved => format!("{subnets} (saved, not confirmed by the store yet)"),
        Standing::Held => format!("{subnets} held"),
        Standing::Unsure(reason) => format!("{subnets} (store out of reach: {reason})"),
        Standing::Lost(reason) => format!("{subnets} (lost: {reason})"),
        Standing::Taken(by) => format!("{subnets} ({by})"),
    }
}

fn backend_words(status: &Status, backend: &str) -> String {
    let accepts = match &status.accepts[..] {
        [] => String::new(),
        accepts => format!(", accepts {}", accepts.join(", ")),
    };
    let mtu = status.mtu;
    let mtu = mtu.map_or_else(String::new, |mtu| format!(", pod MTU {mtu}"));
    format!("{backend}{accepts}{mtu}")
}

fn bridge_words(bridge: &BridgeStatus) -> String {
    let pods = match bridge.pods {
        1 => "1 pod".to_owned(),
        pods => format!("{pods} pods"),
    };
    format!("{} {}, {pods}", bridge.name, list(bridge.addrs.iter()))
}

fn peers_words(status: &Status) -> String {
    let states = peers::states(&status.peer_states);
    match status.kernel.held_peers {
        0 => format!("{}{states}", status.peers),
        held => format!(
            "{} and {held} that stay though the store lacks them{states}",
            status.peers
        ),
    }
}

/// What needs no eye, unless somebody asks.
fn as_it_should_be(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    if answers(status) {
        let kernel = &status.kernel;
        let took = kernel.last_full_seconds * 1000.0;
        let (changes, failures, repairs) = (kernel.changes, kernel.failures, kernel.repairs);
        let since_start = format!(
            "{changes} changes, {failures} failures, {repairs} repairs; last full pass {took:.1} ms"
        );
        row(f, "passes", since_start)?;
        if !status.sandbox.is_empty() {
            row(f, "sandbox", status.sandbox.join(", "))?;
        }
    }
    if let Some(nexthops) = status.nexthops {
        row(f, "routes", routes(nexthops))?;
    }
    if let Some(trust) = &status.trust {
        row(f, "trust", trusted(trust))?;
    }
    if let Some(checksum) = &status.tx_checksum {
        row(f, "checksum", checksum)?;
    }
    if let Some(file) = &status.subnet_file {
        row(f, "CNI", file)?;
    }
    if let Some(list) = status.cni.as_ref().and_then(|cni| cni.list.as_ref()) {
        row(f, "", list)?;
    }
    Ok(())
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

#[cfg(test)]
mod tests;
