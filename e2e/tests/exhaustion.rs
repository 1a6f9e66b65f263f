//! Connections that are made to be held open.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::{Host, Topology};
use tweed_lab::wait::eventually;
use tweed_model::Family;

/// As many as a process may have open by default.
const MANY: usize = 1024;
/// The health server of an agent in the lab.
const PORT: u16 = 10_500;

fn connect(host: &Host) -> Result<Vec<TcpStream>> {
    host.place().run(|| {
        let connect = |_| Ok(TcpStream::connect(("127.0.0.1", PORT))?);
        (0..MANY).map(connect).collect()
    })
}

#[test]
fn a_thousand_idle_connections_take_nothing_from_health_store_or_kernel() -> Result<()> {
    // Descriptors of this process; the agent has the other ends.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most.min(65_536), most)?;
    Topology::hosts(3).play(|lab| {
        let limited = |launch: Launch| launch.through("prlimit --nofile=1024:1024");
        let mut cluster = Cluster::on_files_with(lab, &vxlan(), limited)?;
        let host = &lab.hosts[0];
        let idle = connect(host)?;
        let agent = &cluster.agents[0];
        for path in ["/healthz", "/readyz", "/metrics"] {
            ensure!(agent.get(path)?.0 == 200, "{path} doesn't answer");
        }
        let open = std::fs::read_dir(format!("/proc/{}/fd", agent.pid()))?.count();
        ensure!(open < 200, "{open} descriptors are taken");
        // The kernel is looked after, and its sockets open.
        host.sh("ip link del flannel.1")?;
        eventually("the device is back", || host.sh("ip link show flannel.1"))?;
        // The store is read: a peer goes.
        let gone = cluster.agents[2].subnet(Family::V4)?.trunc().to_string();
        cluster.agents[2].terminate()?;
        cluster.agents[0].store_command(&["leases", "release", &gone])?;
        cluster.agents[0].sees(1)?;
        drop(idle);
        Ok(())
    })
}

#[test]
fn the_health_server_is_for_this_host_alone_unless_told_otherwise() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let host = &lab.hosts[0];
        let launch = Launch::file(lab);
        launch.set_config(lab, &vxlan())?;
        let mut agent = Agent::start(lab, host, &launch)?;
        agent.ready()?;
        let from_outside = || {
            lab.hosts[1].place().run(|| {
                let mut stream = TcpStream::connect((host.v4(), PORT))?;
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                Ok(answer)
            })
        };
        let refused = from_outside().err().context("another host may ask")?;
        ensure!(format!("{refused:#}").contains("refused"), "{refused:#}");
        agent.terminate()?;
        let mut agent = Agent::start(lab, host, &launch.clone().arg("--healthz-ip=0.0.0.0"))?;
        agent.ready()?;
        ensure!(from_outside()?.contains("tweed_ready 1"), "no metrics");
        Ok(())
    })
}
