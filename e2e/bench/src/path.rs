//! What packets between pods of two hosts get: over our VXLAN, over one laid out by hand, and over plain routes; and
//! over ours between pods without a bridge.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpCongestion;
use serde_json::json;
use tweed_model::Family;

use crate::row::{Row, median};
use tweed_lab::agent::Agent;
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::etcd::Etcd;
use tweed_lab::flannel::Node;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::traffic;

/// How often the paths are built: the same path built twice differs by some per cent for as long as it stands.
const LABS: usize = 5;
/// Measurements of each kind on each path, in turns. Many short ones: what else the machine does comes in spells.
const ROUNDS: usize = 6;
/// Length of one measurement.
const SPAN: Duration = Duration::from_millis(250);

/// Figures of one path: bytes a second, packets a second, microseconds there and back.
#[derive(Default)]
struct Figures {
    tcp: Vec<f64>,
    packets: Vec<f64>,
    latency: Vec<f64>,
}

/// Measures.
///
/// # Errors
/// When a path does not carry traffic.
pub fn run() -> Result<Vec<Row>> {
    let mut figures: [Figures; 4] = Default::default();
    for _ in 0..LABS {
        measure(&mut figures)?;
    }
    Ok(rows(&figures))
}

/// Builds the paths and measures each of them.
fn measure(figures: &mut [Figures; 4]) -> Result<()> {
    let [overlay, by_hand, plain] = [lab()?, lab()?, lab()?];
    let etcd = Etcd::start(&overlay)?;
    etcd.put_config(&vxlan())?;
    for host in &overlay.hosts {
        // The same subnets as by hand, so that the same plugins configure the pods of all three.
        Node::of(host)?.announce(&etcd)?;
    }
    let _agents = Agent::everywhere(&overlay, &Launch::etcd())?;
    let nodes = [Node::of(&by_hand.hosts[0])?, Node::of(&by_hand.hosts[1])?];
    nodes[0].lay_out(&by_hand.hosts[0], &nodes[1..])?;
    nodes[1].lay_out(&by_hand.hosts[1], &nodes[..1])?;
    for (index, host) in plain.hosts.iter().enumerate() {
        let other = &nodes[1 - index];
        host.sh(&format!(
            "ip route add {} via {}",
            other.subnet, other.public
        ))?;
    }
    let paths = [
        pods(&overlay)?,
        pods(&by_hand)?,
        pods(&plain)?,
        routed(&overlay)?,
    ];
    for round in 0..ROUNDS {
        for turn in 0..paths.len() {
            // Each path is as often the first.
            let path = (round + turn) % paths.len();
            let (pods, figures) = (&paths[path], &mut figures[path]);
            figures.tcp.push(stream(&pods[0], &pods[1])?);
            figures.packets.push(flood(&pods[0], &pods[1])?);
            figures.latency.push(ping_pong(&pods[0], &pods[1])?);
        }
    }
    Ok(())
}

fn rows([ours, by_hand, plain, routed]: &[Figures; 4]) -> Vec<Row> {
    let of_overlay = compare("pod to pod", ours, ("VXLAN by hand", by_hand));
    let others = [
        compare("pod to pod", ours, ("no overlay", plain)),
        compare("routed pods", routed, ("pods in a bridge", ours)),
    ];
    let others = others.into_iter().flatten().map(Row::without_goal);
    of_overlay.into_iter().chain(others).collect()
}

fn compare(what: &str, ours: &Figures, (name, other): (&str, &Figures)) -> [Row; 3] {
    [
        Row::at_least(
            &format!("{what}, one TCP stream"),
            median(&ours.tcp) * 8e-9,
            (name, median(&other.tcp) * 8e-9),
            "Gbit/s",
            0.98,
        ),
        Row::at_least(
            &format!("{what}, 64-byte datagrams"),
            median(&ours.packets) * 1e-3,
            (name, median(&other.packets) * 1e-3),
            "kpps",
            0.98,
        ),
        Row::at_most(
            &format!("{what}, there and back"),
            Duration::from_secs_f64(median(&ours.latency)),
            (name, Duration::from_secs_f64(median(&other.latency))),
            1.0 / 0.98,
        ),
    ]
}

/// Two hosts.
fn lab() -> Result<Lab> {
    Topology::hosts(2).build()
}

/// A pod without a bridge on each host of ours, with an address that the Go plugins don't get to.
fn routed(lab: &Lab) -> Result<Vec<Pod<'_>>> {
    let pod = |host| {
        let addr = Node::of(host)?.subnet.hosts().nth(99);
        let addr = addr
            .context("a subnet has a hundred addresses")?
            .to_string();
        let mut runtime = Runtime::routed();
        runtime.plugins[0]["runtimeConfig"] = json!({ "ips": [addr] });
        runtime.pod(host)
    };
    let pods = lab.hosts.iter().map(pod).collect::<Result<Vec<_>>>()?;
    traffic::all_reach_each_other(&pods, Family::V4)?;
    Ok(pods)
}

/// A pod on each host, made by the Go plugins on every path.
fn pods(lab: &Lab) -> Result<Vec<Pod<'_>>> {
    let pods = lab
        .hosts
        .iter()
        .map(|host| Node::of(host)?.go_plugins().pod(host))
        .collect::<Result<Vec<_>>>()?;
    traffic::all_reach_each_other(&pods, Family::V4)?;
    Ok(pods)
}

/// Bytes a second of one TCP connection. CUBIC on every machine, whatever its default is: BBR's figures vary more.
fn stream(from: &Pod<'_>, to: &Pod<'_>) -> Result<f64> {
    let addr = to.v4()?;
    let listener = to.place().run(|| Ok(TcpListener::bind((addr, 0))?))?;
    let target = listener.local_addr()?;
    let sink = thread::spawn(move || -> Result<f64> {
        let (mut stream, _) = listener.accept()?;
        let mut buffer = vec![0; 1 << 18];
        let (start, mut total) = (Instant::now(), 0);
        loop {
            match stream.read(&mut buffer)? {
                0 => {
                    return Ok(f64::from(u32::try_from(total >> 10)?) * 1024.0
                        / start.elapsed().as_secs_f64());
                }
                count => total += count,
            }
        }
    });
    let mut client = from.place().run(|| Ok(TcpStream::connect(target)?))?;
    setsockopt(&client, TcpCongestion, &OsString::from("cubic"))?;
    let block = vec![0x55; 1 << 18];
    let start = Instant::now();
    while start.elapsed() < SPAN {
        client.write_all(&block)?;
    }
    drop(client);
    traffic::join(sink)
}

/// Datagrams of 64 bytes that arrive in a second.
fn flood(from: &Pod<'_>, to: &Pod<'_>) -> Result<f64> {
    let (server, client) = sockets(from, to, to.v4()?)?;
    server.set_read_timeout(Some(Duration::from_millis(100)))?;
    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let (ended, counted) = (Arc::clone(&stop), Arc::clone(&count));
    let sink = thread::spawn(move || -> Result<()> {
        let mut buffer = [0; 128];
        while !ended.load(Ordering::Relaxed) {
            if server.recv(&mut buffer).is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    });
    let packet = [0x55; 64];
    let start = Instant::now();
    while start.elapsed() < SPAN {
        for _ in 0..64 {
            client.send(&packet)?;
        }
    }
    let taken = start.elapsed().as_secs_f64();
    let arrived = count.load(Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    traffic::join(sink)?;
    Ok(f64::from(u32::try_from(arrived)?) / taken)
}

/// Seconds that a small datagram needs there and back.
fn ping_pong(from: &Pod<'_>, to: &Pod<'_>) -> Result<f64> {
    let (server, client) = sockets(from, to, to.v4()?)?;
    let echo = thread::spawn(move || -> Result<()> {
        let mut buffer = [0; 64];
        loop {
            let (count, peer) = server.recv_from(&mut buffer)?;
            if count == 1 {
                return Ok(());
            }
            server.send_to(&buffer[..count], peer)?;
        }
    });
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < SPAN {
        let sent = Instant::now();
        client.send(&[0x55; 32])?;
        client.recv(&mut [0; 64])?;
        times.push(sent.elapsed().as_secs_f64());
    }
    client.send(&[0])?;
    traffic::join(echo)?;
    Ok(median(&times))
}

fn sockets(from: &Pod<'_>, to: &Pod<'_>, addr: IpAddr) -> Result<(UdpSocket, UdpSocket)> {
    let server = to.place().run(|| Ok(UdpSocket::bind((addr, 0))?))?;
    let client = from.place().run(|| Ok(UdpSocket::bind(("0.0.0.0", 0))?))?;
    client.connect(server.local_addr()?)?;
    Ok((server, client))
}
