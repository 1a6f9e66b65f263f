//! A kernel that refuses an offload while packets flow.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Pod;
use tweed_lab::topology::Topology;
use tweed_lab::traffic;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use super::operator::carriers;
use super::raw::dropped;
use super::trouble::words;
use super::udp;

/// Has the kernel refuse the next message that a thread sends, as one does that can't send several datagrams at once by
/// an uplink: Linux before 6.11 without checksum offload, and every one where IPsec is on the way. This one may be
/// neither, so that strace answers instead of it.
struct Refusal(Child);

impl Refusal {
    fn of(thread: &str) -> Result<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o", "/dev/null", "-e", "trace=sendmsg"]);
        strace.args(["-e", "inject=sendmsg:error=EIO:when=1", "-p", thread]);
        let child = strace.stdout(Stdio::null()).spawn();
        let refusal = Self(child.context("start strace")?);
        eventually("strace stands between thread and kernel", || {
            let status = std::fs::read_to_string(format!("/proc/{thread}/status"))?;
            let traced = format!("TracerPid:\t{}\n", refusal.0.id());
            ensure!(status.contains(&traced), "{status}");
            Ok(())
        })?;
        Ok(refusal)
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        // strace detaches from the thread before it ends.
        let pid = i32::try_from(self.0.id()).expect("a pid fits");
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Sends five datagrams in one call, which the device gives to the agent as one packet; all must arrive.
pub(super) fn five_at_once(from: &Pod<'_>, to: &Pod<'_>, family: Family) -> Result<()> {
    let bind = |pod: &Pod<'_>| {
        let addr = pod.addr(family)?;
        pod.place().run(|| Ok(UdpSocket::bind((addr, 0))?))
    };
    let (sender, receiver) = (bind(from)?, bind(to)?);
    setsockopt(&sender, sockopt::UdpGsoSegment, &1000)?;
    receiver.set_read_timeout(Some(Duration::from_secs(5)))?;
    sender.send_to(&[7; 5000], receiver.local_addr()?)?;
    for number in 1..=5 {
        let len = receiver.recv(&mut [0; 2000]);
        let len = len.with_context(|| format!("datagram {number}"))?;
        ensure!(len == 1000, "{len} bytes");
    }
    Ok(())
}

#[test]
fn a_kernel_that_takes_no_several_datagrams_at_once_gets_them_one_by_one() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &udp(&[Family::V4]))?;
        cluster.talks(Family::V4)?;
        let ([one, two], agent) = (&cluster.pods[..], &cluster.agents[0]) else {
            bail!("two pods");
        };
        let metric = r#"tweed_data_plane_offload{offload="send"}"#;
        five_at_once(one, two, Family::V4)?;
        ensure!(agent.metric(metric)? == 1.0, "it takes them at first");
        let carriers = carriers(agent)?;
        let thread = carriers[0].file_name().and_then(|name| name.to_str());
        {
            let _refused = Refusal::of(thread.context("a thread has a number")?)?;
            five_at_once(one, two, Family::V4).context("while the kernel refuses")?;
        }
        five_at_once(one, two, Family::V4)?;
        for (from, to) in [(one, two), (two, one)] {
            traffic::tcp(from.place(), to.place(), to.v4()?, 4 << 20)?;
        }
        let status = agent.status()?;
        let plane = &status["data_plane"];
        ensure!(plane["offloads"]["send"] == false, "{status}");
        ensure!(plane["singly"]["sent"].as_u64() > Some(2), "{status}");
        ensure!(plane["errors"]["send"] == 0, "{status}");
        ensure!(agent.metric(metric)? == 0.0, "it has given up");
        ensure!(dropped(agent, "offload")? == 0, "{status}");
        let text = words(agent)?;
        let line = "offloads that the kernel does not have: send";
        ensure!(text.lines().any(|said| said.trim() == line), "{text}");
        let log = agent.log()?;
        let told = log.matches("the uplink takes no several datagrams at once");
        ensure!(told.count() == 1, "once in:\n{log}");
        Ok(())
    })
}
