//! What the host has around the agent.

use crate::operator::doctor::facts::Facts;
use crate::operator::doctor::finding::Verdict;
use crate::operator::doctor::surroundings::Room;

/// Of a file system with less than this free, in bytes, the operator is told that it is full.
const NO_ROOM: u64 = 64 * 1024;
/// Of one with less than this free, in percent, the operator is warned.
const LITTLE: u64 = 3;
/// Of a limit that is used up to this, in percent, the operator is warned.
const NEARLY: u64 = 90;
/// Seconds that a clock may be set back without a word: a correction of the usual kind.
const SET_BACK: u64 = 60;

pub fn own_network(facts: &Facts) -> Verdict {
    let host = &facts.status.host;
    match host.first() {
        None => Verdict::ok("the host's own network is whole, as far as the agent needs it"),
        Some(first) => {
            Verdict::warn(first, "the line says the command").because(host.iter().skip(1))
        }
    }
}

pub fn clock(facts: &Facts) -> Verdict {
    let remedy = "set the clock (`timedatectl`, chrony): leases and certificates depend on it";
    match facts.surroundings.future.map(|future| future.as_secs()) {
        Some(seconds) if seconds > SET_BACK => Verdict::warn(
            format!("the clock is behind: the agent wrote files {seconds} s from now"),
            remedy,
        ),
        _ => Verdict::ok("the agent's files are not of the future"),
    }
}

pub fn folders(facts: &Facts) -> Verdict {
    let (mut full, mut nearly, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    for folder in &facts.surroundings.folders {
        let path = folder.path.display();
        match &folder.room {
            Err(reason) => unread.push(reason.clone()),
            Ok(Room {
                read_only: true, ..
            }) => full.push(format!("{path} is read-only")),
            Ok(room) if room.bytes < NO_ROOM || room.free == 0 => {
                full.push(format!("there is no room in {path}"));
            }
            Ok(room) if room.free < LITTLE => {
                nearly.push(format!("{path} has {} % left", room.free))
            }
            Ok(_) => {}
        }
    }
    let remedy =
        "`df -h` and `df -i` show the file system: delete what fills it, or make it larger";
    match (full.first(), nearly.first(), unread.first()) {
        (Some(first), ..) => {
            Verdict::fail(first, remedy).because(full.iter().skip(1).chain(&nearly))
        }
        (None, Some(first), _) => Verdict::warn(first, remedy).because(nearly.iter().skip(1)),
        (None, None, Some(reason)) => Verdict::unknown(reason),
        (None, None, None) => Verdict::ok("there is room in all that are written to"),
    }
}

pub fn limits(facts: &Facts) -> Verdict {
    if !facts.answers() {
        return Verdict::unknown("no agent runs that would have any");
    }
    let around = &facts.surroundings;
    if around.killed > 0 {
        return Verdict::warn(
            format!(
                "the kernel has ended the agent, or a process beside it, {} times because memory was used up",
                around.killed
            ),
            "a higher memory limit for the agent (`docs/RUN.md` says what it needs)",
        );
    }
    let nearly = |used: u64, most: u64| used.saturating_mul(100) >= most.saturating_mul(NEARLY);
    let found = around.limits.iter().find(|one| nearly(one.used, one.most));
    match found {
        Some(limit) => Verdict::warn(
            format!("{} of {} {} are used", limit.used, limit.most, limit.what),
            "a higher limit for the agent (`LimitNOFILE=`, `MemoryMax=`, or the container's)",
        ),
        None => Verdict::ok("there is room below all"),
    }
}

pub fn keepers(facts: &Facts) -> Verdict {
    let kept = &facts.surroundings.kept;
    let of = |(device, service): (&String, &&str)| format!("{service} configures {device}");
    match (kept.iter().next(), facts.surroundings.removes_routes) {
        (Some(first), _) => Verdict::warn(
            of(first),
            "have it leave the device alone: `unmanaged-devices=interface-name:cni*;interface-name:flannel*;interface-name:veth*`, or `Unmanaged=yes` in a .network file for these names",
        )
        .because(kept.iter().skip(1).map(of)),
        (None, true) => Verdict::info(
            "systemd-networkd removes routes of others when it is restarted (`ManageForeignRoutes=no` keeps it from that); the agent puts its own back",
        ),
        (None, false) => Verdict::ok("none looks after them"),
    }
}

pub fn ipv6(facts: &Facts) -> Verdict {
    let v6 = facts
        .networks
        .iter()
        .any(|network| network.addr().is_ipv6());
    match (v6, facts.surroundings.ipv6_off) {
        (false, _) => Verdict::skipped("the pod network has no IPv6"),
        (true, false) => Verdict::ok("it is on"),
        (true, true) => Verdict::fail(
            "IPv6 is off (disable_ipv6) at the uplink or everywhere",
            "`sysctl -w net.ipv6.conf.all.disable_ipv6=0`, and the same of the uplink; or a network without IPv6",
        ),
    }
}

pub fn proxy(facts: &Facts) -> Verdict {
    let proxy = &facts.surroundings.proxy;
    if !facts.kubernetes {
        return Verdict::skipped("there are no Services without Kubernetes");
    }
    match (proxy.rules, proxy.answers) {
        (true, false) => Verdict::warn(
            "kube-proxy's rules are there, and nothing answers at its health port 10256",
            "look at kube-proxy's log: without it Services keep leading to pods that are gone",
        ),
        (false, false) => {
            Verdict::info("no kube-proxy works here; something else may serve Services")
        }
        (false, true) => {
            Verdict::info("kube-proxy answers, and its rules are not in the packet filter")
        }
        (true, true) => Verdict::ok("kube-proxy answers, and its rules are there"),
    }
}
