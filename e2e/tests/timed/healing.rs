//! Whatever is broken by hand is back in under a second, and nothing that is right is touched.
//!
//! A fault is a command and the words that name what it breaks. The state of the host before it and after the repair
//! must be the same, indices and handles included, but for lines that have one of these words; and so must everything
//! that `ip monitor`, `bridge monitor` and `nft monitor` print meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tweed_lab::backend::{Backend, HOST_GW, VXLAN};
use tweed_lab::cluster::Cluster;
use tweed_lab::fault::Peer;
use tweed_lab::observe::{self, Watch};
use tweed_lab::topology::{Host, Topology, UPLINK};
use tweed_lab::traffic::{self, Stream};
use tweed_lab::wait::{eventually, stays, timed};
use tweed_model::Family;

use crate::backends::each_backend;

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

/// What is broken on a host, for one family.
struct Victim<'a> {
    host: &'a Host,
    peer: &'a Host,
    family: Family,
    /// Where the route to a peer leads.
    destination: String,
}

impl Victim<'_> {
    fn flag(&self) -> &'static str {
        match self.family {
            Family::V4 => "-4",
            Family::V6 => "-6",
        }
    }
}

each_backend! {
    all: [
        routes_to_peers_that_were_deleted_changed_or_flushed_are_right_again,
        packet_filter_and_subnet_env_are_back_with_their_content,
        an_uplink_that_goes_down_and_up_has_its_routes_again_within_a_second,
    ],
    with_a_device: [
        a_deleted_device_is_back_with_all_that_it_had,
        a_device_that_was_set_down_or_changed_is_right_again,
        a_device_replaced_by_another_of_its_name_is_right_again,
        the_address_of_the_device_is_right_again,
    ],
}

fn a_deleted_device_is_back_with_all_that_it_had(backend: &Backend) -> Result<()> {
    each_device(backend, |dev, _| {
        vec![Fault::new(format!("ip link del {dev}"), &[dev, UNDERLAY])]
    })
}

fn a_device_that_was_set_down_or_changed_is_right_again(backend: &Backend) -> Result<()> {
    each_device(backend, |dev, _| {
        let down = format!("ip link set {dev} down");
        let narrower = format!("ip link set {dev} mtu 1300");
        vec![Fault::new(down, &[dev]), Fault::new(narrower, &[dev])]
    })
}

fn a_device_replaced_by_another_of_its_name_is_right_again(backend: &Backend) -> Result<()> {
    each_device(backend, |dev, _| {
        // The agent would be faster than the second command.
        let replace = format!(
            "kill -STOP $(pgrep -x tweedd); ip link del {dev}; \
             ip link add {dev} type vxlan id 77 dstport 4790 dev eth0; ip link set {dev} up; \
             kill -CONT $(pgrep -x tweedd)"
        );
        vec![Fault::new(replace, &[dev, UNDERLAY])]
    })
}

fn the_address_of_the_device_is_right_again(backend: &Backend) -> Result<()> {
    each_device(backend, |dev, victim| {
        let command = format!("ip {} addr flush dev {dev} scope global", victim.flag());
        vec![Fault::new(command, &[dev])]
    })
}

fn routes_to_peers_that_were_deleted_changed_or_flushed_are_right_again(
    backend: &Backend,
) -> Result<()> {
    heals(backend, |victims| {
        let faults = victims.iter().flat_map(|victim| {
            let (to, flag) = (&victim.destination, victim.flag());
            let elsewhere = match victim.family {
                Family::V4 => "198.18.0.254",
                Family::V6 => "fd12:c612::fe",
            };
            [
                Fault::new(format!("ip {flag} route del {to}"), &[to]),
                Fault::new(
                    format!("ip {flag} route replace {to} via {elsewhere} dev eth0"),
                    &[to],
                ),
                // Routes that lead by objects go with these: iproute2 can't flush them.
                Fault::new(
                    format!("ip nexthop flush proto 84; ip {flag} route flush proto 84"),
                    &["proto 84", "proto 85"],
                ),
            ]
        });
        faults.collect()
    })
}

fn packet_filter_and_subnet_env_are_back_with_their_content(backend: &Backend) -> Result<()> {
    let rules = &["nft", "tweed", "add", "delete", "flush"][..];
    let file = &["/run/flannel/subnet.env"][..];
    heals(backend, |_| {
        [
            ("nft delete table inet tweed", rules),
            ("nft flush table inet tweed", rules),
            ("rm /run/flannel/subnet.env", file),
            ("echo FLANNEL_MTU=9 > /run/flannel/subnet.env", file),
        ]
        .map(|(command, concerns)| Fault::new(command, concerns))
        .into()
    })
}

fn an_uplink_that_goes_down_and_up_has_its_routes_again_within_a_second(
    backend: &Backend,
) -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &backend.config(&Family::BOTH))?;
        let (host, peer) = (&lab.hosts[0], &cluster.agents[1]);
        // The kernel takes routes along with the device, and addresses of IPv6.
        break_it(host, "ip link set eth0 down; ip link set eth0 up")?;
        host.sh("ip addr replace fd12:c612::1/64 dev eth0 nodad")?;
        for family in Family::BOTH {
            timed("its routes", LIMIT, || backend.leads(host, peer, family))?;
            cluster.talks(family)?;
        }
        Ok(())
    })
}

#[test]
fn nexthop_objects_that_were_deleted_changed_or_added_are_right_again() -> Result<()> {
    for backend in [VXLAN, HOST_GW] {
        heals(&backend, |[victim, _]| {
            let (to, dev) = (&victim.destination, backend.device(victim.family));
            let number = format!("$(ip route show {to} | grep -o 'nhid [0-9]*' | cut -d' ' -f2)");
            let way = |gateway: &str| match dev {
                Some(dev) => format!("via {gateway} dev {dev} onlink proto 84"),
                None => format!("via {gateway} dev {UPLINK} proto 84"),
            };
            let (gateway, elsewhere) = match dev {
                Some(_) => (to.replace("/24", ""), "10.244.254.0"),
                None => (victim.peer.v4().to_string(), "198.18.0.254"),
            };
            let concerns = [&gateway, elsewhere];
            let mut commands = vec![
                format!("ip nexthop del id {number}"),
                format!("ip nexthop replace id {number} {}", way(elsewhere)),
            ];
            // Over the uplink, one of another number is another's.
            for gateway in [elsewhere, &gateway].into_iter().filter(|_| dev.is_some()) {
                commands.push(format!("ip nexthop add id 7 {}", way(gateway)));
            }
            let faults = commands.into_iter();
            faults
                .map(|command| Fault::new(command, &concerns))
                .collect()
        })?;
    }
    Ok(())
}

#[test]
fn a_vtep_mac_that_was_changed_is_right_again() -> Result<()> {
    each_device(&VXLAN, |dev, _| {
        let command = format!("ip link set {dev} address 02:00:00:00:00:77");
        vec![Fault::new(command, &[dev])]
    })
}

#[test]
fn neighbour_entries_of_peers_are_right_again() -> Result<()> {
    each_peer(|dev, _, peer| {
        let base = peer.subnet.network().to_string();
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
    each_peer(|dev, victim, peer| {
        let mac = &peer.mac;
        let own = victim.host.addrs.get(victim.family).expect("both families");
        vec![
            Fault::new(format!("bridge fdb del {mac} dev {dev} self"), &[mac]),
            Fault::new(
                format!("bridge fdb replace {mac} dev {dev} dst {own} self permanent"),
                &[mac],
            ),
        ]
    })
}

#[test]
fn entries_of_peers_that_never_were_are_swept() -> Result<()> {
    each_device(&VXLAN, |dev, victim| {
        let (subnet, base, public) = match victim.family {
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

/// Runs the faults of each device and family on one cluster.
fn each_device(backend: &Backend, faults: impl Fn(&str, &Victim<'_>) -> Vec<Fault>) -> Result<()> {
    heals(backend, |victims| {
        let of =
            |victim: &Victim<'_>| faults(backend.device(victim.family).expect("a device"), victim);
        victims.iter().flat_map(of).collect()
    })
}

/// The same of VXLAN, with a peer.
fn each_peer(faults: impl Fn(&str, &Victim<'_>, &Peer) -> Vec<Fault>) -> Result<()> {
    each_device(&VXLAN, |dev, victim| {
        let subnet = victim.destination.parse().expect("a subnet");
        let peer = Peer::of(victim.peer, subnet).expect("a peer");
        faults(dev, victim, &peer)
    })
}

fn heals(backend: &Backend, faults: impl FnOnce(&[Victim<'_>; 2]) -> Vec<Fault>) -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let config = backend.config(&Family::BOTH);
        let cluster = Cluster::on_etcd_with(lab, &config, |launch| launch.arg("--ip-masq"))?;
        for family in Family::BOTH {
            cluster.talks(family)?;
        }
        let victim = |family| -> Result<Victim<'_>> {
            let subnet = cluster.agents[1].subnet(family)?;
            Ok(Victim {
                host: &lab.hosts[0],
                peer: &lab.hosts[1],
                family,
                destination: backend.destination(&subnet),
            })
        };
        for fault in faults(&[victim(Family::V4)?, victim(Family::V6)?]) {
            let taken =
                carried_again(backend, &cluster, &fault).with_context(|| fault.command.clone())?;
            println!("repaired in {taken:?}: {}", fault.command);
        }
        for family in Family::BOTH {
            cluster.talks(family)?;
        }
        Ok(())
    })
}

/// Repairs under traffic: packets stop for less than the repair may take, and full ones pass afterwards.
fn carried_again(backend: &Backend, cluster: &Cluster<'_>, fault: &Fault) -> Result<Duration> {
    let (from, to) = (&cluster.pods[0], &cluster.pods[1]);
    let streams = [
        Stream::start(from, to, Family::V4)?,
        Stream::start(from, to, Family::V6)?,
    ];
    let taken = repair(from.host, fault)?;
    for stream in streams {
        let loss = stream.stop()?;
        ensure!(loss.gap < LIMIT, "{loss:?}");
    }
    let mtu = backend.pod_mtu(1500, &Family::BOTH);
    for family in Family::BOTH {
        eventually("a full packet passes", || {
            traffic::ping_size(from.place(), to.addr(family)?, mtu)
        })?;
    }
    Ok(taken)
}

fn repair(host: &Host, fault: &Fault) -> Result<Duration> {
    let before = observe::snapshot(host)?;
    let watch = Watch::start(host)?;
    break_it(host, &fault.command)?;
    let wanted = without_numbers(&before);
    let (_, taken) = timed("the state of before is back", LIMIT, || {
        let now = observe::snapshot(host)?;
        // Without their numbers, two objects with one gateway are one line.
        let (had, has) = (nexthops(&before), nexthops(&now));
        ensure!(had == has, "{has} nexthop objects, not {had}");
        match &observe::difference(&wanted, &without_numbers(&now))[..] {
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

fn break_it(host: &Host, command: &str) -> Result<()> {
    host.place().cmd(["sh", "-ec", command]).map(drop)
}

fn nexthops(snapshot: &BTreeSet<String>) -> usize {
    let lines = snapshot.iter();
    lines.filter(|line| line.starts_with("nexthop ")).count()
}

/// The snapshot without what a device, table or object that was made again has anew: indices, handles and numbers.
fn without_numbers(snapshot: &BTreeSet<String>) -> BTreeSet<String> {
    // The kernel draws the link-local address of a TUN device anew.
    let drawn = |line: &str| line.contains("fe80::") && line.contains(" flannel0");
    snapshot
        .iter()
        .filter(|line| !drawn(line))
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
            Some(("route4", rest)) => observe::without("nhid", rest),
            Some(("nexthop", rest)) => observe::without("id", rest),
            _ => line.clone(),
        })
        .collect()
}
