//! The lab itself: what every other scenario relies on, shown without Tweed.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use tweed_e2e::topology::{Lab, Topology};
use tweed_e2e::traffic;

#[test]
fn hosts_of_a_segment_and_behind_the_router_reach_each_other() -> Result<()> {
    Topology::on_segments(&[0, 0, 1]).outside().play(|lab| {
        for from in &lab.hosts {
            for to in lab.hosts.iter().chain(&lab.outside) {
                traffic::ping(from.place(), to.v4())?;
                traffic::ping(from.place(), to.v6())?;
            }
        }
        let hop = lab.hosts[0].sh("ip route get 198.18.1.3")?;
        let gateway = Lab::gateway(0).v4.expect("IPv4");
        ensure!(hop.contains(&format!("via {gateway} ")), "{hop}");
        Ok(())
    })
}

#[test]
fn hosts_share_no_files_where_it_matters() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        for folder in ["/run", "/var/lib/cni", "/etc/cni/net.d", "/opt/cni/bin"] {
            let mark = format!("{folder}/mark-of-the-lab");
            lab.hosts[0].sh(&format!("touch {mark}"))?;
            ensure!(lab.hosts[0].path(&mark).exists(), "{mark}");
            ensure!(!lab.hosts[1].path(&mark).exists(), "{mark} leaked");
            ensure!(!Path::new(&mark).exists(), "{mark} leaked out");
        }
        Ok(())
    })
}

#[test]
fn processes_of_a_host_end_with_it() -> Result<()> {
    let lab = Topology::hosts(1).build()?;
    let host = &lab.hosts[0];
    let before = host.ns().processes()?;
    host.place().cmd(["sh", "-c", "sleep 1000 >&- 2>&- &"])?;
    let mut new = host.ns().processes()?;
    new.retain(|pid| !before.contains(pid));
    let [orphan] = new[..] else {
        bail!("one process was started, {new:?} are there");
    };
    drop(lab);
    ensure!(
        !Path::new(&format!("/proc/{orphan}")).exists(),
        "process {orphan} outlives its host"
    );
    Ok(())
}
