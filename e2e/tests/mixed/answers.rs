//! Probes by the one tunnel that are answered by the other.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tweed_lab::topology::Topology;
use tweed_lab::wait::{eventually, stays};

use super::{Nodes, alone, steps};

#[test]
fn while_a_network_moves_the_nodes_of_both_backends_answer_each_others_probes() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let nodes = Nodes::start(lab, &alone("vxlan"))?;
        let [first, second, _] = steps("vxlan", "udp");
        for index in 0..lab.hosts.len() {
            nodes.configure(index, &first)?;
        }
        nodes.configure(0, &second)?;
        let all_ok = || {
            nodes.agents.iter().try_for_each(|agent| {
                let states = agent.status()?["peer_states"].clone();
                ensure!(states == json!({ "ok": 2 }), "{states}");
                Ok(())
            })
        };
        eventually("all peers answer", all_ok)?;
        // Longer than it takes to notice that one doesn't.
        stays("all peers answer", Duration::from_secs(15), all_ok)
    })
}
