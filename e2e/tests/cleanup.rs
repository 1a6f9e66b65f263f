//! `tweedd cleanup` leaves a host as if Tweed had never been there, and says before what it would do.

use anyhow::{Result, ensure};
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Runtime;
use tweed_lab::launch::vxlan_dual;
use tweed_lab::observe;
use tweed_lab::topology::Topology;
use tweed_model::Family;

#[test]
fn cleanup_leaves_nothing_and_a_dry_run_changes_nothing() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let host = &lab.hosts[0];
        // Forwarding stays on: others may have come to rely on it. It shows in addresses and groups.
        host.sh("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
        let clean = observe::snapshot(host)?;
        let mut cluster =
            Cluster::on_etcd_with(lab, &vxlan_dual(), |launch| launch.arg("--ip-masq"))?;
        cluster.talks(Family::V4)?;
        Runtime::tweed().del(&cluster.pods[0], "eth0")?;
        cluster.pods[0].remove_netns()?;
        cluster.agents[0].terminate()?;

        let used = observe::snapshot(host)?;
        let dry = cluster.agents[0].command(&["cleanup", "--dry-run"])?;
        let text = String::from_utf8_lossy(&dry.stdout);
        for word in ["flannel.1", "flannel-v6.1", "tweed", "subnet.env"] {
            ensure!(text.contains(word), "{word} is not in {text}");
        }
        let changed = without_bridge(observe::difference(&used, &observe::snapshot(host)?));
        ensure!(changed.is_empty(), "a dry run changed {changed:?}");

        let output = cluster.agents[0].command(&["cleanup"])?;
        ensure!(output.status.success(), "{output:?}");
        let left = without_bridge(observe::difference(&clean, &observe::snapshot(host)?));
        ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        Ok(())
    })
}

/// The bridge belongs to the plugin; it notices late that its last port is gone.
fn without_bridge(mut lines: Vec<String>) -> Vec<String> {
    lines.retain(|line| !line.contains("cni0"));
    lines
}
