//! A node's own subnet, and other addresses of its host inside the pod network.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::Launch;
use tweed_lab::topology::Topology;
use tweed_lab::wait::eventually;
use tweed_model::Family;

fn up_to(last: &str) -> Value {
    json!({
        "Network": "10.244.0.0/16", "SubnetMin": "10.244.4.0", "SubnetMax": last,
        "Backend": { "Type": "vxlan" },
    })
}

#[test]
fn a_subnet_that_a_bridge_of_the_host_has_is_not_drawn_and_one_that_it_takes_later_is_told()
-> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        let host = &lab.hosts[0];
        let bridge = |name: &str, addr: &str| -> Result<()> {
            host.sh(&format!("ip link add {name} type bridge"))?;
            host.sh(&format!("ip link set {name} up"))?;
            host.sh(&format!("ip addr add {addr} dev {name}")).map(drop)
        };
        bridge("docker0", "10.244.4.1/22")?;
        etcd.put_config(&up_to("10.244.7.0"))?;
        let mut agent = Agent::start(lab, host, &Launch::etcd())?;
        let words =
            "0 leases in the store and 10.244.4.0/22, 10.244.4.1/32 left out as this host's own";
        agent.logged(&["waiting", "no free /24", words])?;
        etcd.put_config(&up_to("10.244.8.0"))?;
        agent.ready()?;
        let subnet = agent.subnet(Family::V4)?;
        ensure!(subnet == "10.244.8.0/24".parse()?, "{subnet}");
        ensure!(agent.status()?["host"] == json!([]), "{}", agent.status()?);
        bridge("lan", "10.244.8.129/25")?;
        eventually("it is told", || {
            let status = agent.status()?;
            let said = status["host"][0].as_str().unwrap_or_default();
            ensure!(said.contains("10.244.8.128/25 of lan"), "{status}");
            let metric = agent.metric(r#"tweed_host_warnings{kind="host_network"}"#)?;
            ensure!(metric == 1.0, "{metric} warnings");
            Ok(())
        })
    })
}
