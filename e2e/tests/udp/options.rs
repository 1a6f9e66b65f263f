//! What an operator may choose: several workers, keep-alives, and whom to trust.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{Value, json};
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Pod;
use tweed_lab::datagram::Datagram;
use tweed_lab::launch::config;
use tweed_lab::topology::Topology;
use tweed_lab::traffic;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use super::raw::{PORT, on_uplink};

/// Datagrams of each flow, and how many may be under way in all.
const EACH: u32 = 2000;
const UNDER_WAY: usize = 200;

fn with(options: &Value) -> Value {
    let mut backend = json!({ "Type": "udp" });
    let known = backend.as_object_mut().into_iter();
    known.for_each(|backend| backend.extend(options.as_object().cloned().unwrap_or_default()));
    config(&Family::BOTH, &backend)
}

/// Several flows at once, no faster than they arrive: each datagram comes once, after the one before it.
fn flows_in_order(from: &Pod<'_>, to: &Pod<'_>, family: Family) -> Result<()> {
    let addr = to.addr(family)?;
    let receiver = to.place().run(|| Ok(UdpSocket::bind((addr, 0))?))?;
    setsockopt(&receiver, sockopt::RcvBufForce, &(8 << 20))?;
    receiver.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (source, target) = (from.addr(family)?, receiver.local_addr()?);
    let bind = || from.place().run(|| Ok(UdpSocket::bind((source, 0))?));
    let senders = (0..8).map(|_| bind()).collect::<Result<Vec<_>>>()?;
    let total = senders.len() * EACH as usize;
    let came = AtomicUsize::new(0);
    thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&receiver, total, &came));
        let sent = send(&senders, target, &came);
        let received = receiving
            .join()
            .map_err(|_| anyhow!("the receiver panicked"))?;
        received.and(sent)
    })
}

fn send(senders: &[UdpSocket], target: SocketAddr, came: &AtomicUsize) -> Result<()> {
    let mut sent = 0;
    for number in 0..EACH {
        for sender in senders {
            let begin = Instant::now();
            while sent - came.load(Ordering::Relaxed) > UNDER_WAY {
                ensure!(
                    begin.elapsed() < Duration::from_secs(5),
                    "stuck after {sent}"
                );
                thread::sleep(Duration::from_micros(200)); // Others need the processor too.
            }
            sender.send_to(&number.to_be_bytes(), target)?;
            sent += 1;
        }
    }
    Ok(())
}

fn receive(receiver: &UdpSocket, total: usize, came: &AtomicUsize) -> Result<()> {
    let mut next: BTreeMap<SocketAddr, u32> = BTreeMap::new();
    let mut buffer = [0; 4];
    for count in 1..=total {
        let received = receiver.recv_from(&mut buffer);
        let (_, from) = received.with_context(|| format!("datagram {count} of {total}"))?;
        let (number, expected) = (u32::from_be_bytes(buffer), next.entry(from).or_default());
        ensure!(number == *expected, "{number} for {expected} from {from}");
        *expected += 1;
        came.store(count, Ordering::Relaxed);
    }
    Ok(())
}

#[test]
fn several_workers_keep_the_order_of_each_flow() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let options = with(&json!({ "Workers": 3, "BusyPoll": 50 }));
        let masq = |launch: tweed_lab::launch::Launch| launch.arg("--ip-masq");
        let cluster = Cluster::on_etcd_with(lab, &options, masq)?;
        for agent in &cluster.agents {
            let status = agent.status()?;
            ensure!(status["data_plane"]["workers"] == 3, "{status}");
        }
        let [one, two] = &cluster.pods[..] else {
            anyhow::bail!("two pods");
        };
        for family in Family::BOTH {
            cluster.talks(family)?;
            flows_in_order(one, two, family)?;
            flows_in_order(two, one, family)?;
            let addr = two.addr(family)?;
            traffic::tcp(one.place(), two.place(), addr, 16 << 20)?;
            traffic::ping_size(one.place(), addr, 1452)?;
        }
        Ok(())
    })
}

#[test]
fn idle_paths_are_kept_open_and_trust_of_anyone_takes_every_sender() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let options = with(&json!({ "KeepAlive": 1, "Trust": "anyone" }));
        let cluster = Cluster::on_etcd(lab, &options)?;
        cluster.talks(Family::V4)?;
        for agent in &cluster.agents {
            eventually("empty datagrams come and go", || {
                let status = agent.status()?;
                let counts = &status["data_plane"]["keep_alives"];
                ensure!(counts["sent"].as_u64() > Some(0), "{status}");
                ensure!(counts["received"].as_u64() > Some(0), "{status}");
                Ok(())
            })?;
        }
        let pod = &cluster.pods[0];
        let receiver = pod
            .place()
            .run(|| Ok(UdpSocket::bind(("0.0.0.0", 9000))?))?;
        receiver.set_read_timeout(Some(Duration::from_secs(5)))?;
        let stranger = lab
            .switch
            .place()
            .run(|| Ok(UdpSocket::bind(("198.18.0.254", 0))?))?;
        let peer = on_uplink(&lab.hosts[1], 0)?;
        for (socket, from) in [(&stranger, [10, 244, 250, 9]), (&peer, [8, 8, 8, 8])] {
            let packet = Datagram {
                from: from.into(),
                to: pod.v4()?,
                port: 9000,
                hops: 9,
                payload: b"hello",
            };
            socket.send_to(&packet.packet(), (lab.hosts[0].v4(), PORT))?;
            let mut buffer = [0; 16];
            let (len, source) = receiver.recv_from(&mut buffer)?;
            ensure!(
                &buffer[..len] == b"hello" && source.ip() == packet.from,
                "{source}"
            );
        }
        Ok(())
    })
}
