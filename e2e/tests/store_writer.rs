//! Somebody who may write to the store, but is on no host, tries to take packets or the host's own network away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::{Agent, peer_routes};
use tweed_lab::cluster::Cluster;
use tweed_lab::etcd::{Etcd, PREFIX};
use tweed_lab::launch::{Launch, config, vxlan};
use tweed_lab::topology::Topology;
use tweed_lab::traffic::Stream;
use tweed_lab::wait::{eventually, stays};
use tweed_model::Family;

fn lease(public: &str, backend: &str, number: u8) -> Value {
    let mut lease = json!({ "PublicIP": public, "PublicIPv6": null });
    if !backend.is_empty() {
        lease["BackendType"] = backend.into();
    }
    if backend == "vxlan" {
        let mac = format!("a2:00:00:00:07:{number:02x}");
        lease["BackendData"] = json!({ "VNI": 1, "VtepMAC": mac });
    }
    lease
}

fn announce(etcd: &Etcd<'_>, subnet: &str, lease: &Value) -> Result<()> {
    let key = format!("{PREFIX}/subnets/{}", subnet.replace('/', "-"));
    etcd.put(&key, &lease.to_string())
}

/// Waits until an agent refuses a lease for a reason with these words.
pub(crate) fn refused(agent: &Agent<'_>, subnet: &str, words: &str) -> Result<()> {
    let key = subnet.replace('/', "-");
    eventually(&format!("{key} is refused"), || {
        let status = agent.status()?;
        let all = status["refused"].as_array().context("no list")?;
        let mut found = all
            .iter()
            .filter(|refused| refused["lease"] == key.as_str());
        let found = found.next().with_context(|| format!("not among {all:?}"))?;
        let reason = found["reason"].as_str().unwrap_or_default();
        ensure!(
            reason.contains(words),
            "refused because {reason}, not {words}"
        );
        Ok(())
    })
}

#[test]
fn an_address_that_no_node_can_have_is_refused_by_name_whatever_the_backend() -> Result<()> {
    for (backend, wire) in [
        (json!({ "Type": "udp" }), ""),
        (json!({ "Type": "host-gw" }), "host-gw"),
        (json!({ "Type": "vxlan", "DirectRouting": true }), "vxlan"),
    ] {
        Topology::hosts(2).play(|lab| {
            let mut cluster = Cluster::on_etcd(lab, &config(&[Family::V4], &backend))?;
            let near = cluster.agents[1].subnet(Family::V4)?;
            let host = &lab.hosts[0];
            host.sh("ip link add extra type bridge")?;
            host.sh("ip addr add 192.0.2.77/32 dev extra")?;
            host.sh("ip link set extra up")?;
            let own = host.v4().to_string();
            let bad = [
                ("10.244.201.0/24", "10.244.201.9", "inside the pod network"),
                ("10.244.202.0/24", "10.244.77.1", "inside the pod network"),
                ("10.244.203.0/24", "127.0.0.1", "loopback"),
                ("10.244.204.0/24", "224.0.0.9", "multicast"),
                ("10.244.205.0/24", "169.254.7.7", "link-local"),
                ("10.244.206.0/24", "255.255.255.255", "broadcast"),
                ("10.244.207.0/24", "0.0.0.9", "of no host"),
                ("10.244.208.0/24", "241.1.1.1", "reserved"),
                ("10.244.210.0/24", "192.0.2.77", "an address of this host"),
            ];
            for (number, (subnet, public, _)) in (0..).zip(&bad) {
                announce(cluster.etcd()?, subnet, &lease(public, wire, number))?;
            }
            for (subnet, _, why) in &bad {
                refused(&cluster.agents[0], subnet, why)?;
            }
            // A key without an etcd lease and without data that names the host's own public address is a reservation.
            let names_host = "10.244.209.0/24";
            announce(cluster.etcd()?, names_host, &lease(&own, wire, 99))?;
            if wire == "vxlan" {
                refused(&cluster.agents[0], names_host, "an address of this host")?;
            } else {
                eventually("the reservation is no peer", || {
                    let reserved = cluster.agents[0].status()?["reserved"].to_string();
                    ensure!(reserved.contains("10.244.209.0-24"), "{reserved}");
                    Ok(())
                })?;
            }
            // The address of the host that came last may have been a peer's for a moment.
            eventually("nothing leads to any of them", || {
                let routes = peer_routes(host, Family::V4)?;
                ensure!(
                    routes.iter().all(|route| *route == near || wire.is_empty()),
                    "routes {routes:?}"
                );
                let rules = host.sh("nft list table inet tweed").unwrap_or_default();
                for (_, public, _) in bad.iter().filter(|(.., why)| !why.contains("pod network")) {
                    ensure!(
                        *public == own || !rules.contains(public),
                        "{public} in {rules}"
                    );
                }
                Ok(())
            })?;
            cluster.talks(Family::V4)
        })?;
    }
    Ok(())
}

#[test]
fn a_lease_whose_address_is_in_the_pod_network_makes_no_loop() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &config(&[Family::V4], &json!({ "Type": "udp" })))?;
        let host = &lab.hosts[0];
        let trap = lease("10.244.201.9", "", 1);
        announce(cluster.etcd()?, "10.244.201.0/24", &trap)?;
        refused(
            &cluster.agents[0],
            "10.244.201.0/24",
            "inside the pod network",
        )?;
        let carried = || -> Result<u64> {
            let count = host.sh("cat /sys/class/net/flannel0/statistics/tx_packets")?;
            Ok(count.trim().parse()?)
        };
        let before = carried()?;
        // Nobody answers.
        let _ = cluster.pods[0].place().sh("ping -c 1 -W 1 10.244.201.20");
        let carried = carried()? - before;
        ensure!(carried < 50, "one packet has become {carried}");
        cluster.talks(Family::V4)
    })
}

#[test]
fn an_agent_does_not_announce_an_address_that_no_node_can_have() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan())?;
        for (addr, why) in [
            ("127.0.0.1", "loopback"),
            ("10.244.3.4", "inside the pod network"),
            ("224.0.0.1", "multicast"),
        ] {
            let launch = Launch::etcd()
                .arg("--iface=eth0")
                .arg(format!("--public-ip={addr}"));
            let mut agent = Agent::start(lab, &lab.hosts[0], &launch)?;
            agent.logged(&["waiting", addr, why])?;
            ensure!(etcd.leases(PREFIX)?.is_empty(), "it took a lease");
            agent.kill()?;
        }
        Ok(())
    })
}

#[test]
fn a_lease_equal_to_a_network_of_the_host_is_refused_and_the_host_keeps_its_own() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let lan = |name: &str, addr: &str| -> Result<()> {
            host.sh(&format!("ip link add {name} type bridge"))?;
            host.sh(&format!("ip link set {name} up"))?;
            host.sh(&format!("ip addr add {addr} dev {name}")).map(drop)
        };
        lan("lan1", "10.244.231.9/24")?;
        let by = |addr: &str, dev: &str| -> Result<()> {
            let route = host.sh(&format!("ip route get {addr}"))?;
            ensure!(route.contains(&format!("dev {dev} ")), "{route}");
            Ok(())
        };
        // Let the agent notice, as it does within seconds; then the lease comes.
        std::thread::sleep(Duration::from_secs(6));
        announce(
            cluster.etcd()?,
            "10.244.231.0/24",
            &lease("198.18.0.231", "vxlan", 1),
        )?;
        refused(
            &cluster.agents[0],
            "10.244.231.0/24",
            "10.244.231.0/24 of lan1",
        )?;
        stays("the host's own network", Duration::from_secs(1), || {
            by("10.244.231.20", "lan1")
        })?;
        // The other way round: the lease is there first.
        announce(
            cluster.etcd()?,
            "10.244.232.0/24",
            &lease("198.18.0.232", "vxlan", 2),
        )?;
        eventually("it is a peer", || by("10.244.232.20", "flannel.1"))?;
        lan("lan2", "10.244.232.9/24")?;
        refused(&cluster.agents[0], "10.244.232.0/24", "of lan2")?;
        eventually("the host has its network", || by("10.244.232.20", "lan2"))?;
        // What an earlier version has replaced is told, with the command that mends it.
        host.sh("ip route del 10.244.232.0/24 dev lan2")?;
        host.sh("ip addr add 192.0.2.9/32 dev lan2")?;
        let command = eventually("the missing route is told", || {
            let status = cluster.agents[0].status()?;
            let said = status["host"][0]
                .as_str()
                .context("nothing is told")?
                .to_owned();
            let (_, command) = said.split_once('`').context("no command")?;
            Ok(command.trim_end_matches('`').to_owned())
        })?;
        host.sh(&command)?;
        by("10.244.232.20", "lan2")?;
        cluster.talks(Family::V4)
    })
}

#[test]
fn a_network_that_holds_the_hosts_own_address_is_refused_and_the_pods_go_on() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let stream = Stream::start(&cluster.pods[0], &cluster.pods[1], Family::V4)?;
        let covering = json!({ "Network": "198.18.0.0/15", "Backend": { "Type": "vxlan" } });
        cluster.launch.set_config(lab, &covering)?;
        let words = "choose a network that nothing else uses";
        cluster.agents[0].logged(&["waiting", "198.18.0.1", words])?;
        std::thread::sleep(Duration::from_secs(2));
        cluster.launch.set_config(lab, &vxlan())?;
        cluster.agents[0].sees(1)?;
        let loss = stream.stop()?;
        ensure!(loss.sent > 50 && loss.lost == 0, "{loss:?}");
        Ok(())
    })
}
