//! What pods of this node need.

use super::count;
use crate::operator::doctor::facts::Facts;
use crate::operator::doctor::finding::Verdict;

/// Of addresses, so many percent may be taken before the operator is warned.
const FULL: u64 = 85;
/// A Linux bridge has 1,024 ports at most.
const MOST_PORTS: usize = 1_000;

pub fn subnet_env(facts: &Facts) -> Verdict {
    let file = facts.subnet_file.display();
    if let Some(error) = &facts.status.subnet_file_error {
        return Verdict::fail(
            error.clone(),
            "mend what it names: the agent writes the file again by itself",
        );
    }
    let env = match &facts.subnet_env {
        Err(error) => {
            return Verdict::fail(error.clone(), "delete the file: the agent writes it again");
        }
        Ok(None) => {
            return Verdict::fail(
                format!("{file} is not there"),
                "the agent writes it once it holds a lease",
            );
        }
        Ok(Some(env)) => env,
    };
    let own = &facts.status.subnets;
    let differs = own.iter().find(|(family, subnet)| {
        let written = env.subnets.get(*family);
        // The file names the gateway's address in the subnet.
        written.is_none_or(|written| written.trunc() != subnet.trunc())
    });
    match differs {
        Some((_, subnet)) => Verdict::fail(
            format!("{file} lacks {subnet}, which this node holds"),
            "find what else writes it; the agent writes it again by itself",
        ),
        None => Verdict::ok(format!("{file} is as the lease says, MTU {}", env.mtu)),
    }
}

pub fn earlier_subnet(facts: &Facts) -> Verdict {
    match &facts.status.earlier_subnet {
        Some(reason) => Verdict::fail(
            reason.clone(),
            "delete those pods: they come back with addresses of the new subnet",
        ),
        None => Verdict::ok("none"),
    }
}

pub fn list(facts: &Facts) -> Verdict {
    let runtime = &facts.runtime;
    let dir = runtime.conf_dir.display();
    let place =
        "`tweedd install-cni` places it; in Kubernetes the agent does once the node is ready";
    match &runtime.list {
        Err(error) => Verdict::unknown(error),
        Ok(None) if facts.kubernetes => {
            Verdict::fail(format!("there is no network configuration in {dir}"), place)
        }
        Ok(None) => Verdict::skipped(format!("no runtime uses {dir}")),
        Ok(Some(list)) => {
            let file = list.file.display();
            match (&list.error, list.ours) {
                (Some(error), _) => Verdict::fail(
                    format!("{file} can't be read: {error}"),
                    format!("mend it, or delete it; {place}"),
                ),
                (None, false) if facts.kubernetes || list.shadowed.is_some() => Verdict::fail(
                    match &list.shadowed {
                        Some(ours) => format!(
                            "the runtime takes {file}, which comes before ours, {}",
                            ours.display()
                        ),
                        None => format!("the runtime takes {file}, which is not ours"),
                    },
                    "move it away if its network is gone; ours must come first by name",
                ),
                (None, false) => {
                    Verdict::info(format!("the runtime takes {file}, which is not ours"))
                }
                (None, true) => Verdict::ok(format!("the runtime takes {file}")),
            }
        }
    }
}

pub fn plugins(facts: &Facts) -> Verdict {
    let runtime = &facts.runtime;
    match &runtime.list {
        Err(error) => Verdict::unknown(error),
        Ok(None) => Verdict::skipped("no network configuration names any"),
        Ok(Some(list)) if !list.missing.is_empty() => Verdict::fail(
            format!(
                "{} lacks {}, named by {}",
                runtime.bin_dir.display(),
                list.missing.join(", "),
                list.file.display()
            ),
            "`tweedd install-cni` places ours; others come with their own packages",
        ),
        Ok(Some(_)) => Verdict::ok(format!("all are in {}", runtime.bin_dir.display())),
    }
}

pub fn bridge(facts: &Facts) -> Verdict {
    let net = match &facts.net {
        Err(reason) => return Verdict::unknown(reason),
        Ok(net) => net,
    };
    let Some(link) = net.link("cni0") else {
        return Verdict::skipped("cni0 comes with the first pod");
    };
    if !link.up {
        return Verdict::fail(
            "cni0 is down",
            "`ip link set cni0 up`; a running agent does that within a second",
        );
    }
    let own = &facts.status.subnets;
    let lacks = own.values().find(|subnet| {
        let mut addrs = net.addrs_of(link.index);
        !addrs.any(|addr| subnet.contains(&addr.net.addr()))
    });
    if let Some(subnet) = lacks {
        return Verdict::warn(
            format!("cni0 has no address of {subnet}"),
            "pods of an earlier subnet are to be deleted; with the last of them `ip link del cni0`",
        );
    }
    let ports = net
        .links
        .iter()
        .filter(|port| port.master == Some(link.index))
        .count();
    let fact = format!("cni0 is up with {}", count(ports, "port", "ports"));
    match ports >= MOST_PORTS {
        true => Verdict::warn(
            fact,
            "a bridge has 1,024 ports at most: fewer pods on this node",
        ),
        false => Verdict::ok(fact),
    }
}

/// Ports of the pods' bridge with another MTU than pods have by now.
pub fn sizes(facts: &Facts) -> Verdict {
    let net = match &facts.net {
        Err(reason) => return Verdict::unknown(reason),
        Ok(net) => net,
    };
    let Some(mtu) = facts.status.mtu else {
        return Verdict::unknown("the pods' MTU is not known");
    };
    let Some(bridge) = net.link("cni0") else {
        return Verdict::skipped("cni0 comes with the first pod");
    };
    let ports = net
        .links
        .iter()
        .filter(|port| port.master == Some(bridge.index));
    let other: Vec<String> = ports
        .filter(|port| port.mtu != mtu)
        .map(|port| format!("{} has {}", port.name, port.mtu))
        .collect();
    match other.len() {
        0 => Verdict::ok(format!("all have {mtu}")),
        number => Verdict::warn(
            format!(
                "{} another MTU than {mtu}",
                count(number, "pod has", "pods have")
            ),
            "delete the pods: they come back with the MTU of today",
        )
        .because(other),
    }
}

pub fn attachments(facts: &Facts) -> Verdict {
    let attached = &facts.status.attached;
    if !facts.answers() {
        return Verdict::unknown("only a running agent looks at them");
    }
    match attached.failed.len() + attached.doubtful.len() {
        0 => Verdict::ok(count(
            attached.attachments,
            "pod is as recorded",
            "pods are as recorded",
        )),
        number => Verdict::fail(
            format!(
                "{} can't be put right",
                count(number, "attachment", "attachments")
            ),
            "delete the pod: its runtime makes it again",
        )
        .because(
            attached.failed.iter().cloned().chain(
                attached
                    .doubtful
                    .iter()
                    .map(|(owner, port)| format!("{owner}: its port {port} is gone")),
            ),
        ),
    }
}

pub fn addresses(facts: &Facts) -> Verdict {
    let pools = facts.pools.iter();
    let own: Vec<(&str, usize, u64)> = pools
        .filter_map(|pool| Some((pool.network.as_str(), pool.used, pool.size?)))
        .collect();
    let fact =
        |(network, used, size): &(&str, usize, u64)| format!("{used} of {size} taken in {network}");
    let is_full = |(_, used, size): &&(&str, usize, u64)| *used as u64 >= *size;
    let nearly = |(_, used, size): &&(&str, usize, u64)| *used as u64 * 100 >= size * FULL;
    let remedy = "reservations of containers that are gone: the plugin frees them when it runs out (`docs/CNI.md`); else a larger SubnetLen, or fewer pods";
    if let Some(full) = own.iter().find(is_full) {
        return Verdict::fail(fact(full), remedy);
    }
    if let Some(nearly) = own.iter().find(nearly) {
        return Verdict::warn(fact(nearly), remedy);
    }
    match own.first() {
        Some(first) => Verdict::ok(fact(first)),
        None => Verdict::ok("none is taken"),
    }
}
