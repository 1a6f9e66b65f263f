//! A flanneld that is started beside a running agent.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Result, ensure};
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::vxlan;
use tweed_lab::topology::Topology;
use tweed_lab::wait::eventually;

/// Writes `subnet.env` as flanneld does when it starts, and stays.
const FLANNELD: &str = "#!/bin/sh -e
cd /run/flannel
cp subnet.env new
mv new subnet.env
while :; do sleep 0.2; done
";

#[test]
fn a_flanneld_that_is_started_later_is_named_and_the_node_is_not_ready_until_it_ends() -> Result<()>
{
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let [one, two] = &mut cluster.agents[..] else {
            anyhow::bail!("two agents");
        };
        let path = lab.folder.path().join("flanneld");
        fs::write(&path, FLANNELD)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let mut flanneld = Command::new(&path);
        flanneld.args(["-etcd-endpoints=http://192.0.2.1:2379", "-iface=eth0"]);
        let mut flanneld = lab.hosts[0].place().spawn(&mut flanneld)?;
        let named = eventually("it is named", || {
            let status = one.status()?;
            let reasons = status["not_ready"].to_string();
            let words = "flanneld was started beside this agent (pid ";
            ensure!(reasons.contains(words), "{status}");
            ensure!(status["warnings"][0]["kind"] == "flanneld", "{status}");
            ensure!(one.metric("tweed_host_warnings{kind=\"flanneld\"}")? == 1.0);
            one.logged(&["flanneld was started beside this agent"])
        });
        // It is on another host, of the same machine here.
        let other = two.status();
        flanneld.kill()?;
        flanneld.wait()?;
        named?;
        let other = other?;
        ensure!(
            other["ready"] == true && other["warnings"] == serde_json::json!([]),
            "{other}"
        );
        one.ready().map(drop)
    })
}
