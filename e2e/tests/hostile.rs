//! Entries that are wrong, by accident or on purpose, are refused by name and harm nobody else.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::peer_routes;
use tweed_lab::cluster::Cluster;
use tweed_lab::etcd::PREFIX;
use tweed_lab::launch::vxlan;
use tweed_lab::topology::Topology;
use tweed_lab::wait::eventually;
use tweed_model::Family;

#[test]
fn wrong_entries_are_refused_and_named_in_log_status_and_metrics() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        let own = cluster.agents[0].subnet(Family::V4)?;
        let near = cluster.agents[1].subnet(Family::V4)?;
        let good_mac = "a2:00:00:00:02:01";
        let entry = |public: &str, mac: &str| {
            json!({
                "PublicIP": public,
                "PublicIPv6": null,
                "BackendType": "vxlan",
                "BackendData": { "VNI": 1, "VtepMAC": mac },
            })
        };
        let overlapping = format!("{}-23", supernet(&near.to_string())?);
        let inside_own = format!("{}-26", own.network());
        let bad: Vec<(&str, Value)> = vec![
            (&overlapping, entry("198.18.0.101", good_mac)),
            (&inside_own, entry("198.18.0.102", good_mac)),
            ("192.168.7.0-24", entry("198.18.0.103", good_mac)),
            ("10.244.201.0-24", entry(&host.v4().to_string(), good_mac)),
            ("10.244.202.0-24", entry("198.18.0.104", "not a MAC")),
            (
                "10.244.203.0-24",
                entry("198.18.0.105", "01:00:5e:00:00:01"),
            ),
            ("10.244.204.0-24", entry("224.0.0.1", good_mac)),
            ("10.244.205.0-24", json!({ "PublicIP": 5 })),
            ("10.244.206.0-24", json!(null)),
            ("10.244.207.0-24hi", entry("198.18.0.106", good_mac)),
        ];
        for (key, value) in &bad {
            cluster
                .etcd()?
                .put(&format!("{PREFIX}/subnets/{key}"), &value.to_string())?;
        }
        eventually("every wrong entry is named", || {
            let agent = &cluster.agents[0];
            let status = agent.status()?.to_string();
            let (_, metrics) = agent.get("/metrics")?;
            let log = agent.log()?;
            let warned = log.lines().filter(|line| line.contains(" WARN "));
            let warned = warned.collect::<Vec<_>>().join("\n");
            let named: Vec<_> = metrics
                .lines()
                .filter(|line| line.starts_with("tweed_bad_entry{"))
                .collect();
            for (key, _) in &bad {
                for (place, text) in [
                    ("status", &status),
                    ("metrics", &named.join("\n")),
                    ("log", &warned),
                ] {
                    ensure!(text.contains(*key), "{key} is not in {place}: {text}");
                }
            }
            Ok(())
        })?;
        let routes = peer_routes(host, Family::V4)?;
        ensure!(routes == [near], "routes {routes:?}");
        let (_, metrics) = cluster.agents[0].get("/metrics")?;
        let counted = metrics
            .lines()
            .filter(|line| line.starts_with("tweed_refused_leases") && !line.ends_with(" 0"))
            .count();
        ensure!(counted > 0, "no refused peer in\n{metrics}");
        cluster.talks(Family::V4)
    })
}

/// The /23 around a /24.
fn supernet(subnet: &str) -> Result<std::net::IpAddr> {
    let net: ipnet::IpNet = subnet.parse()?;
    Ok(ipnet::IpNet::new(net.network(), 23)?.network())
}
