//! Whatever is broken by hand is back in under a second, and nothing that is right is touched.
//!
//! A fault is a command and the words that name what it breaks. The state of the host before it and after the repair
//! must be the same, indices and handles included, but for lines that have one of these words; and so must everything
//! that `ip monitor`, `bridge monitor` and `nft monitor` print meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tweed_lab::cluster::Cluster;
use tweed_lab::fault::{Peer, Vtep};
use tweed_lab::launch::{config, vxlan_dual};
use tweed_lab::observe::{self, Watch};
use tweed_lab::topology::{Host, Topology};
use tweed_lab::wait::{stays, timed};
use tweed_model::Family;

/// A repair takes less.
const LIMIT: Duration = Duration::from_secs(1);

/// The kernel tells of the device underneath too when a VXLAN device comes or goes.
const UNDERLAY: &str = ": eth0@";

struct Fault {
    command: String,
    concerns: Vec<String>,
}

impl Fault {
    fn new(command: impl Into<String>, concerns: &[&str]) -> Self {
        Self {
            command: command.into(),
            concerns: concerns.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    fn explains(&self, line: &str) -> bool {
        self.concerns
            .iter()
            .any(|word| line.contains(word.as_str()))
    }
}

/// The host under test, its own VTEP, and a peer.
struct Victim<'a> {
    host: &'a Host,
    vtep: Vtep,
    peer: Peer,
}

#[test]
fn a_deleted_device_is_back_with_its_mac_and_all_entries() -> Result<()> {
    each_family(|victim| {
        let dev = &victim.vtep.dev;
        vec![Fault::new(format!("ip link del {dev}"), &[dev, UNDERLAY])]
    })
}

#[test]
fn a_device_that_was_set_down_or_changed_is_right_again() -> Result<()> {
    each_family(|victim| {
        let dev = &victim.vtep.dev;
        vec![
            Fault::new(format!("ip link set {dev} down"), &[dev]),
            Fault::new(format!("ip link set {dev} mtu 1300"), &[dev]),
            Fault::new(
                format!("ip link set {dev} address 02:00:00:00:00:77"),
                &[dev],
            ),
        ]
    })
}

#[test]
fn a_device_replaced_by_another_of_its_name_is_right_again() -> Result<()> {
    each_family(|victim| {
        let dev = &victim.vtep.dev;
        // The agent would be faster than the second command.
        let replace = format!(
            "kill -STOP $(pgrep -x tweedd); ip link del {dev}; \
             ip link add {dev} type vxlan id 77 dstport 4790 dev eth0; ip link set {dev} up; \
             kill -CONT $(pgrep -x tweedd)"
        );
        vec![Fault::new(replace, &[dev, UNDERLAY])]
    })
}

#[test]
fn routes_to_peers_that_were_deleted_changed_or_flushed_are_right_again() -> Result<()> {
    each_family(|victim| {
        let (dev, subnet) = (&victim.vtep.dev, victim.peer.subnet.to_string());
        let elsewhere = match victim.vtep.family {
            Family::V4 => "198.18.0.254",
            Family::V6 => "fd12:c612::fe",
        };
        vec![
            Fault::new(format!("ip route del {subnet} dev {dev}"), &[&subnet]),
            Fault::new(
                format!("ip route replace {subnet} via {elsewhere} dev eth0"),
                &[&subnet],
            ),
            Fault::new(
                format!(
                    "ip -4 route flush dev {dev} proto 84; ip -6 route flush dev {dev} proto 84"
                ),
                &[dev],
            ),
        ]
    })
}

#[test]
fn neighbour_entries_of_peers_are_right_again() -> Result<()> {
    each_family(|victim| {
        let (dev, base) = (&victim.vtep.dev, victim.peer.subnet.network().to_string());
        vec![
            Fault::new(format!("ip neigh del {base} dev {dev}"), &[&base]),
            Fault::new(
                format!("ip neigh replace {base} dev {dev} lladdr 02:00:00:00:00:66 nud permanent"),
                &[&base],
            ),
        ]
    })
}

#[test]
fn forwarding_entries_of_peers_are_right_again() -> Result<()> {
    each_family(|victim| {
        let (dev, mac) = (&victim.vtep.dev, &victim.peer.mac);
        vec![
            Fault::new(format!("bridge fdb del {mac} dev {dev} self"), &[mac]),
            Fault::new(
                format!(
                    "bridge fdb replace {mac} dev {dev} dst {} self permanent",
                    victim
                        .host
                        .addrs
                        .get(victim.vtep.family)
                        .expect("both families")
                ),
                &[mac],
            ),
        ]
    })
}

#[test]
fn the_address_of_the_device_is_right_again() -> Result<()> {
    each_family(|victim| {
        let dev = &victim.vtep.dev;
        let flag = match victim.vtep.family {
            Family::V4 => "-4",
            Family::V6 => "-6",
        };
        vec![Fault::new(
            format!("ip {flag} addr flush dev {dev} scope global"),
            &[dev],
        )]
    })
}

#[test]
fn the_nftables_table_is_back_after_a_firewall_reload() -> Result<()> {
    heals(|_| {
        ["nft delete table inet tweed", "nft flush table inet tweed"]
            .map(|command| Fault::new(command, &["nft", "tweed", "add", "delete", "flush"]))
            .into()
    })
}

#[test]
fn subnet_env_is_back_with_its_content() -> Result<()> {
    heals(|_| {
        [
            "rm /run/flannel/subnet.env",
            "echo FLANNEL_MTU=9 > /run/flannel/subnet.env",
        ]
        .map(|command| Fault::new(command, &["/run/flannel/subnet.env"]))
        .into()
    })
}

#[test]
fn entries_of_peers_that_never_were_are_swept() -> Result<()> {
    each_family(|victim| {
        let dev = &victim.vtep.dev;
        let (subnet, base, public) = match victim.vtep.family {
            Family::V4 => ("10.244.254.0/24", "10.244.254.0", "198.18.0.99"),
            Family::V6 => ("fd00:10:244:fe::/64", "fd00:10:244:fe::", "fd12:c612::99"),
        };
        vec![
            Fault::new(
                format!("ip route add {subnet} via {base} dev {dev} onlink"),
                &[subnet],
            ),
            Fault::new(
                format!("ip neigh add {base} dev {dev} lladdr 02:00:00:00:00:55 nud permanent"),
                &[base],
            ),
            Fault::new(
                format!(
                    "bridge fdb append 02:00:00:00:00:55 dev {dev} dst {public} self permanent"
                ),
                &["02:00:00:00:00:55"],
            ),
        ]
    })
}

#[test]
fn routes_of_host_gw_survive_an_uplink_that_goes_down_and_up() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let backend = serde_json::json!({ "Type": "host-gw" });
        let cluster = Cluster::on_etcd(lab, &config(&Family::BOTH, &backend))?;
        let (host, subnet) = (&lab.hosts[0], cluster.agents[1].subnet(Family::V4)?);
        for command in [
            format!("ip route del {subnet}"),
            format!("ip route replace {subnet} via 198.18.0.254"),
            // The kernel takes the routes over a device along when it goes down; addresses of IPv6 too.
            "ip link set eth0 down; ip link set eth0 up; ip addr replace fd12:c612::1/64 dev eth0 nodad".to_owned(),
        ] {
            let fault = Fault::new(&command, &[]);
            break_it(host, &fault)?;
            let (_, taken) = timed(&format!("repair after {command}"), LIMIT, || {
                for (index, agent) in cluster.agents.iter().enumerate().skip(1) {
                    for family in Family::BOTH {
                        let subnet = agent.subnet(family)?;
                        let via = lab.hosts[index].addrs;
                        let via = via.get(family).context("both families")?;
                        let route = observe::routes(host, &subnet)?;
                        ensure!(route.contains(&format!("via {via} dev eth0")), "{route:?}");
                    }
                }
                Ok(())
            })?;
            println!("repaired in {taken:?}: {command}");
        }
        Ok(())
    })
}

/// Runs the faults of both families on one cluster.
fn each_family(faults: impl Fn(&Victim<'_>) -> Vec<Fault>) -> Result<()> {
    heals(|victims| victims.iter().flat_map(&faults).collect())
}

fn heals(faults: impl FnOnce(&[Victim<'_>; 2]) -> Vec<Fault>) -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let cluster = Cluster::on_etcd_with(lab, &vxlan_dual(), |launch| launch.arg("--ip-masq"))?;
        for family in Family::BOTH {
            cluster.talks(family)?;
        }
        let host = &lab.hosts[0];
        let victim = |family| -> Result<Victim<'_>> {
            Ok(Victim {
                host,
                vtep: Vtep::of(host, family)?,
                peer: cluster.peer(1, family)?,
            })
        };
        for fault in faults(&[victim(Family::V4)?, victim(Family::V6)?]) {
            let taken = repair(host, &fault).with_context(|| fault.command.clone())?;
            println!("repaired in {taken:?}: {}", fault.command);
        }
        for family in Family::BOTH {
            cluster.talks(family)?;
        }
        Ok(())
    })
}

fn repair(host: &Host, fault: &Fault) -> Result<Duration> {
    let before = observe::snapshot(host)?;
    let watch = Watch::start(host)?;
    break_it(host, fault)?;
    let wanted = without_numbers(&before);
    let (_, taken) = timed("the state of before is back", LIMIT, || {
        let now = without_numbers(&observe::snapshot(host)?);
        match &observe::difference(&wanted, &now)[..] {
            [] => Ok(()),
            lines => bail!("differs:\n{}", lines.join("\n")),
        }
    })?;
    let after = observe::snapshot(host)?;
    stays("the repaired state", Duration::from_millis(300), || {
        let moved = observe::difference(&after, &observe::snapshot(host)?);
        ensure!(moved.is_empty(), "it moves: {}", moved.join("\n"));
        Ok(())
    })?;
    let touched = observe::difference(&before, &after)
        .into_iter()
        .chain(watch.stop()?)
        .filter(|line| !fault.explains(line))
        .collect::<Vec<_>>();
    ensure!(
        touched.is_empty(),
        "the repair touched what was right:\n{}",
        touched.join("\n")
    );
    Ok(taken)
}

fn break_it(host: &Host, fault: &Fault) -> Result<()> {
    host.place().cmd(["sh", "-ec", &fault.command]).map(drop)
}

/// The snapshot without what only a device or table that was made again changes: indices and handles.
fn without_numbers(snapshot: &BTreeSet<String>) -> BTreeSet<String> {
    snapshot
        .iter()
        .map(|line| match line.split_once(' ') {
            Some(("link" | "vxlan" | "addr", rest)) => rest
                .split_once(": ")
                .map_or(rest, |(_, rest)| rest)
                .to_owned(),
            Some(("nft", rest)) => rest
                .lines()
                .map(|line| line.split(" # handle ").next().unwrap_or(line))
                .collect::<Vec<_>>()
                .join("\n"),
            _ => line.clone(),
        })
        .collect()
}
