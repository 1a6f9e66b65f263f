//! The agent with a thousand peers: cold start, a new lease, memory, and what it does when there is nothing to do.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tweed_model::{Family, Mac};
use tweed_netlink::{
    AddrSpec, Dev, LinkChange, Netlink, RouteFilter, RouteSpec, TABLE_MAIN, VxlanSpec,
};

use crate::answering::Answering;
use crate::row::{Row, median};
use crate::{gateway, process};
use tweed_lab::agent::Agent;
use tweed_lab::etcd::{Etcd, PREFIX};
use tweed_lab::flannel::Node;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::report;
use tweed_lab::topology::{Host, Lab, Topology, UPLINK};

/// Peers in the store.
const PEERS: usize = 1000;
/// How long the idle agent is watched.
const IDLE: Duration = Duration::from_secs(30);
/// A quarter of the resident memory of flanneld with as many peers, MiB.
const MEMORY: f64 = 64.0 / 4.0;
/// What flanneld needs at the most with as many peers, milliseconds; etcd's own time is in it.
const NEWS: f64 = 8.0;
/// A fifth of what an idle flanneld needs, percent of a core.
const CPU: f64 = 0.4 / 5.0;

/// With probes of peers that answer, percent of a core.
const PROBING: f64 = 0.5;

/// Measures.
///
/// # Errors
/// When the agent does not come up.
pub fn run() -> Result<Vec<Row>> {
    let mut config = vxlan();
    config["Network"] = "10.0.0.0/8".into();
    let lab = Topology::hosts(2).build()?;
    let etcd = Etcd::start(&lab)?;
    etcd.put_config(&config)?;
    let peers = (0..PEERS).map(peer).collect::<Result<Vec<_>>>()?;
    announce(&lab, &peers)?;

    let host = &lab.hosts[0];
    let mut starts = Vec::new();
    let mut bares = Vec::new();
    for _ in 0..5 {
        bares.push(bare(&lab.hosts[1], &peers)?);
        let start = Instant::now();
        let mut agent = Agent::start(&lab, host, &Launch::etcd())?;
        programmed(host, PEERS)?;
        starts.push(start.elapsed());
        agent.ready()?;
        agent.kill()?;
        host.sh("ip link del flannel.1")?;
    }
    let (start, bare) = (median(&starts), median(&bares));
    let extra = start.saturating_sub(bare);

    let _answering = Answering::start(&lab.hosts[1], host)?;
    let launch = Launch::etcd().arg("--log-level=info");
    let mut agent = Agent::start(&lab, host, &launch.clone().arg("--probes=false"))?;
    agent.ready()?;
    programmed(host, PEERS)?;
    let idle = Idle::watch(host, agent.pid())?;
    agent.kill()?;

    let mut agent = Agent::start(&lab, host, &launch)?;
    agent.ready()?;
    let mut news = Vec::new();
    for number in PEERS..PEERS + 20 {
        news.push(new_lease(&lab, host, &peer(number)?)?);
    }
    let memory = process::memory(agent.pid(), "VmRSS")?;
    let probing = Idle::watch(host, agent.pid())?;
    let answer = answering(&agent)?;
    ensure!(
        answer >= PEERS,
        "{answer} of {PEERS} peers answer their probes"
    );
    Ok(vec![
        Row {
            what: format!("start with {PEERS} leases until the kernel is programmed"),
            ours: report::duration(start),
            other: format!("bare netlink {}", report::duration(bare)),
            ratio: format!("+ {}", report::duration(extra)),
            goal: "≤ + 100 ms".to_owned(),
            met: Some(extra <= Duration::from_millis(100)),
        },
        Row::below(
            "a new lease until its route",
            median(&news).as_secs_f64() * 1e3,
            "ms",
            2,
            NEWS,
        ),
        Row::below("resident memory", memory, "MiB", 1, MEMORY),
        Row::below(
            "idle without probes, share of a core",
            idle.cpu,
            "%",
            3,
            CPU,
        ),
        Row::below("idle, share of a core", probing.cpu, "%", 3, PROBING),
        Row::below("idle, processes started", probing.processes, "", 0, 0.0),
    ])
}

/// A node of a large cluster in 10.0.0.0/8.
pub(crate) fn peer(number: usize) -> Result<Node> {
    let (high, low) = (number / 256, number % 256);
    Ok(Node {
        subnet: format!("10.{}.{low}.0/24", 100 + high).parse()?,
        public: format!("198.19.{high}.{low}").parse()?,
        mac: format!("a2:00:00:01:{high:02x}:{low:02x}"),
    })
}

pub(super) fn announce(lab: &Lab, peers: &[Node]) -> Result<()> {
    let entries: Vec<_> = peers
        .iter()
        .map(|peer| {
            let key = format!("{PREFIX}/subnets/{}", peer.key());
            (key, peer.value().to_string())
        })
        .collect();
    gateway::put(lab, &entries)
}

/// How many peers answer.
pub(super) fn answering(agent: &Agent<'_>) -> Result<usize> {
    let status = agent.status()?;
    Ok(status["peer_states"]["ok"].as_u64().unwrap_or_default() as usize)
}

/// Waits until the kernel has a route and an FDB entry for every peer.
pub(super) fn programmed(host: &Host, peers: usize) -> Result<()> {
    let mut netlink = host.place().run(|| Ok(Netlink::open()?))?;
    let filter = RouteFilter {
        family: Family::V4,
        table: Some(TABLE_MAIN),
    };
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if let Some(link) = netlink.link("flannel.1")? {
            let dev = Dev {
                index: link.index,
                name: "flannel.1",
            };
            let routes = netlink.routes(&filter)?;
            let routes = routes.iter().filter(|route| route.oif == Some(link.index));
            if routes.count() >= peers && netlink.fdb(dev)?.len() >= peers {
                return Ok(());
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
    anyhow::bail!("not all of {peers} peers are programmed")
}

/// The time that the same device and entries take, one request after the other, without anything else.
pub(super) fn bare(host: &Host, peers: &[Node]) -> Result<Duration> {
    let local = host.v4();
    let taken = host.place().run(|| {
        let mut netlink = Netlink::open()?;
        let underlay = netlink.link(UPLINK)?.context("no uplink")?.index;
        let start = Instant::now();
        let spec = VxlanSpec {
            vni: 1,
            port: 0,
            local,
            underlay,
            learning: false,
            gbp: false,
            mac: Mac([0xa2, 0, 0, 0, 0, 1]),
            mtu: 1450,
        };
        netlink.add_vxlan("flannel.1", &spec)?;
        let index = netlink.link("flannel.1")?.context("just made")?.index;
        let dev = Dev {
            index,
            name: "flannel.1",
        };
        netlink.add_addr(dev, &AddrSpec::plain("10.99.0.0/32".parse()?))?;
        let up = LinkChange {
            up: Some(true),
            ..LinkChange::default()
        };
        netlink.set_link(dev, &up)?;
        for peer in peers {
            let mac: Mac = peer.mac.parse()?;
            let base = IpAddr::V4(peer.subnet.network());
            netlink.put_neigh(dev, base, mac)?;
            netlink.put_fdb(dev, mac, peer.public)?;
            let mut route = RouteSpec::to(peer.subnet.into()).dev(dev).via(base);
            route.onlink = true;
            netlink.put_route(&route)?;
        }
        Ok(start.elapsed())
    })?;
    host.sh("ip link del flannel.1")?;
    Ok(taken)
}

/// From the start of the put to the kernel's answer that it has the route.
pub(super) fn new_lease(lab: &Lab, host: &Host, peer: &Node) -> Result<Duration> {
    let mut netlink = host.place().run(|| Ok(Netlink::open()?))?;
    let device = netlink.link("flannel.1")?.context("no device")?.index;
    let target = IpAddr::V4(peer.subnet.network());
    thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    announce(lab, std::slice::from_ref(peer))?;
    while start.elapsed() < Duration::from_secs(5) {
        let route = netlink.route_to(target)?;
        if route.is_some_and(|route| route.oif == Some(device)) {
            return Ok(start.elapsed());
        }
        thread::sleep(Duration::from_micros(100));
    }
    anyhow::bail!("{} is never routed", peer.subnet)
}

/// What an agent with nothing to do does.
struct Idle {
    /// Percent of a core.
    cpu: f64,
    /// Processes and threads started.
    processes: f64,
}

impl Idle {
    fn watch(host: &Host, pid: u32) -> Result<Self> {
        thread::sleep(Duration::from_secs(3));
        let (before, number) = (process::busy_seconds(pid)?, next_pid(host)?);
        thread::sleep(IDLE);
        let used = process::busy_seconds(pid)? - before;
        // Numbers are given in turn within the host, and ours took one.
        let started = next_pid(host)? - number - 1.0;
        ensure!(started >= 0.0, "process numbers went round");
        Ok(Self {
            cpu: 100.0 * used / IDLE.as_secs_f64(),
            processes: started,
        })
    }
}

fn next_pid(host: &Host) -> Result<f64> {
    Ok(host.place().cmd(["sh", "-c", "echo $$"])?.trim().parse()?)
}
