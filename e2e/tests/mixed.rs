//! A network moves from one backend to the other while its pods talk: nodes accept both (`Backend.Accept`), and each
//! packet goes by what its receiver's lease says, so that the ways there and back differ meanwhile.
//!
//! ```text
//!  host1, udp lease, accepts vxlan                         host2, vxlan lease, accepts udp
//!     pod ── cni0 ──┬── flannel.1 ═══ VXLAN 8472 ══════════▶ flannel.1 ──┬── cni0 ── pod
//!                   └── flannel0 ◀═══════════ UDP 8285 ═══ flannel0 ─────┘
//! ```

mod answers;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::fault::Vtep;
use tweed_lab::launch::{Launch, config};
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::traffic::{self, Loss, Stream};
use tweed_lab::wait::eventually;
use tweed_model::Family;

/// Without this flag the plugin masquerades packets of pods to other nodes, and the kernel drops a masqueraded
/// connection that leaves by another device.
const IP_MASQ: &str = "--ip-masq";

fn alone(kind: &str) -> Value {
    config(&Family::BOTH, &json!({ "Type": kind }))
}

fn accepting(kind: &str, other: &str) -> Value {
    config(
        &Family::BOTH,
        &json!({ "Type": kind, "Accept": [{ "Type": other }] }),
    )
}

/// The three steps from one backend to the other.
fn steps(from: &str, to: &str) -> [Value; 3] {
    [accepting(from, to), accepting(to, from), alone(to)]
}

/// The device by which a peer with such a lease is reached.
fn device(kind: &str, family: Family) -> &'static str {
    match (kind, family) {
        ("udp", _) => "flannel0",
        (_, Family::V4) => "flannel.1",
        (_, Family::V6) => "flannel-v6.1",
    }
}

/// Nodes with the leases of one network and each its own configuration, as nodes of Kubernetes have it: the file of a
/// ConfigMap reaches each at another time.
struct Nodes<'lab> {
    lab: &'lab Lab,
    agents: Vec<Agent<'lab>>,
    pods: Vec<Pod<'lab>>,
    launches: Vec<Launch>,
}

impl<'lab> Nodes<'lab> {
    fn start(lab: &'lab Lab, config: &Value) -> Result<Self> {
        let shared = lab.folder.path().join("shared");
        fs::create_dir_all(shared.join("subnets"))?;
        fs::write(shared.join("lock"), "")?;
        let mut launches = Vec::new();
        let mut agents = Vec::new();
        for host in &lab.hosts {
            // What distributions of the Red Hat family set.
            host.sh("sysctl -q -w net.ipv4.conf.all.rp_filter=1")?;
            host.sh("sysctl -q -w net.ipv4.conf.default.rp_filter=1")?;
            let launch = Launch::file_at(&own_folder(&shared, host)?).arg(IP_MASQ);
            launch.set_config(lab, config)?;
            agents.push(Agent::start(lab, host, &launch)?);
            launches.push(launch);
        }
        for agent in &mut agents {
            agent.ready()?;
        }
        let nodes = Self {
            pods: Runtime::tweed().pods(&lab.hosts)?,
            lab,
            agents,
            launches,
        };
        nodes.talk()?;
        Ok(nodes)
    }

    fn talk(&self) -> Result<()> {
        for family in Family::BOTH {
            traffic::all_reach_each_other(&self.pods, family)?;
        }
        Ok(())
    }

    /// Gives one node another configuration, and waits until it has taken it and the others know.
    fn configure(&self, index: usize, wanted: &Value) -> Result<()> {
        self.launches[index].set_config(self.lab, wanted)?;
        self.has_taken(index, wanted)
    }

    fn has_taken(&self, index: usize, wanted: &Value) -> Result<()> {
        let backend = &wanted["Backend"];
        eventually("the node runs it", || runs(&self.agents[index], backend))?;
        all_send_to(self.lab, &self.lab.hosts[index], &self.pods[index], wanted)
    }

    /// A stream each way round, in each family.
    fn streams(&self) -> Result<Vec<Stream>> {
        let count = self.pods.len();
        let mut streams = Vec::new();
        for (index, from) in self.pods.iter().enumerate() {
            for family in Family::BOTH {
                let to = &self.pods[(index + 1) % count];
                streams.push(Stream::start(from, to, family)?);
            }
        }
        Ok(streams)
    }
}

/// Waits until the other hosts send to a pod by what its host announces.
fn all_send_to(lab: &Lab, host: &Host, pod: &Pod<'_>, wanted: &Value) -> Result<()> {
    let kind = wanted["Backend"]["Type"].as_str().context("a type")?;
    let others = lab.hosts.iter().filter(|other| other.index != host.index);
    for other in others {
        for family in Family::BOTH {
            let to = pod.addr(family)?;
            eventually("the others send to it by that", || {
                let way = other.sh(&format!("ip route get {to}"))?;
                let dev = format!("dev {} ", device(kind, family));
                ensure!(way.contains(&dev), "{way}");
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// A folder with the shared leases and a configuration of its own. Agents follow no link there.
fn own_folder(shared: &Path, host: &Host) -> Result<std::path::PathBuf> {
    let folder = shared.with_file_name(format!("store{}", host.index));
    let subnets = folder.join("subnets");
    fs::create_dir_all(&subnets)?;
    let (from, to) = (shared.display(), subnets.display());
    host.sh(&format!("mount --bind {from}/subnets {to}"))?;
    fs::hard_link(shared.join("lock"), folder.join("lock"))?;
    Ok(folder)
}

fn runs(agent: &Agent<'_>, backend: &Value) -> Result<()> {
    let status = agent.status()?;
    let accepted = backend["Accept"].as_array().map_or(&[][..], Vec::as_slice);
    let accepted: Vec<&Value> = accepted.iter().map(|entry| &entry["Type"]).collect();
    ensure!(
        status["backend"] == backend["Type"] && status["accepts"] == json!(accepted),
        "it runs {}, accepts {}",
        status["backend"],
        status["accepts"]
    );
    ensure!(status["ready"] == true, "{}", status["not_ready"]);
    let kinds = accepted.into_iter().chain([&backend["Type"]]);
    let devices: Vec<&str> = kinds
        .map(|kind| device(kind.as_str().unwrap_or_default(), Family::V4))
        .collect();
    let links = agent.host().sh("ip -o link show")?;
    for name in ["flannel0", "flannel.1"] {
        let there = links.contains(&format!(" {name}: "));
        ensure!(there == devices.contains(&name), "{name}: {links}");
    }
    Ok(())
}

fn nothing_lost(streams: Vec<Stream>) -> Result<()> {
    let losses = streams.into_iter().map(Stream::stop);
    let losses: Vec<Loss> = losses.collect::<Result<_>>()?;
    let ok = losses.iter().all(|loss| loss.sent > 0 && loss.lost == 0);
    ensure!(ok, "{losses:?}");
    Ok(())
}

#[test]
fn node_by_node_a_network_moves_to_the_other_backend_and_back_without_a_lost_packet() -> Result<()>
{
    Topology::hosts(3).play(|lab| {
        let nodes = Nodes::start(lab, &alone("vxlan"))?;
        let macs = |hosts: &[Host]| -> Result<Vec<String>> {
            let macs = hosts.iter().map(|host| Ok(Vtep::of(host, Family::V4)?.mac));
            macs.collect()
        };
        let before = macs(&lab.hosts)?;
        for (from, to) in [("vxlan", "udp"), ("udp", "vxlan")] {
            let streams = nodes.streams()?;
            for step in steps(from, to) {
                for index in 0..lab.hosts.len() {
                    nodes.configure(index, &step)?;
                    nodes.talk().with_context(|| format!("{step}"))?;
                }
            }
            nothing_lost(streams).with_context(|| format!("from {from} to {to}"))?;
        }
        ensure!(macs(&lab.hosts)? == before, "the VTEPs have other MACs");
        Ok(())
    })
}

#[test]
fn one_configuration_for_all_moves_a_network_in_three_edits() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let cluster = Cluster::on_etcd_with(lab, &alone("vxlan"), |launch| launch.arg(IP_MASQ))?;
        let streams = [
            Stream::start(&cluster.pods[0], &cluster.pods[1], Family::V4)?,
            Stream::start(&cluster.pods[2], &cluster.pods[0], Family::V6)?,
        ];
        for step in steps("vxlan", "udp") {
            cluster.launch.set_config(lab, &step)?;
            for agent in &cluster.agents {
                eventually("all have taken it", || runs(agent, &step["Backend"]))?;
            }
            for host in &lab.hosts {
                all_send_to(lab, host, &cluster.pods[usize::from(host.index)], &step)?;
            }
        }
        nothing_lost(streams.into())?;
        for family in Family::BOTH {
            cluster.talks(family)?;
        }
        Ok(())
    })
}

#[test]
fn agents_that_restart_with_the_next_steps_configuration_lose_what_is_under_way() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let mut nodes = Nodes::start(lab, &alone("vxlan"))?;
        let streams = nodes.streams()?;
        for step in steps("vxlan", "udp") {
            for (index, host) in lab.hosts.iter().enumerate() {
                nodes.agents[index].terminate()?;
                nodes.launches[index].set_config(lab, &step)?;
                nodes.agents[index] = Agent::start(lab, host, &nodes.launches[index])?;
                nodes.agents[index].ready()?;
                nodes.has_taken(index, &step)?;
            }
            nodes.talk()?;
        }
        for stream in streams {
            let loss = stream.stop()?;
            // Less than a question about the lease of the step before would take.
            ensure!(loss.gap < Duration::from_secs(2), "{loss:?}");
        }
        Ok(())
    })
}

#[test]
fn with_direct_routing_the_ways_differ_too() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let direct = json!({ "Type": "vxlan", "DirectRouting": true });
        let plain = config(&[Family::V4, Family::V6], &direct);
        let mut accepting_udp = plain.clone();
        accepting_udp["Backend"]["Accept"] = json!([{ "Type": "udp" }]);
        let udp = config(&Family::BOTH, &json!({ "Type": "udp", "Accept": [direct] }));
        let nodes = Nodes::start(lab, &plain)?;
        let streams = nodes.streams()?;
        for index in 0..2 {
            nodes.launches[index].set_config(lab, &accepting_udp)?;
            eventually("it accepts udp", || {
                runs(&nodes.agents[index], &accepting_udp["Backend"])
            })?;
        }
        nodes.configure(1, &udp)?;
        let way = lab.hosts[1].sh(&format!("ip route get {}", nodes.pods[0].v4()?))?;
        ensure!(way.contains("dev eth0"), "{way}");
        nodes.talk()?;
        nodes.configure(0, &udp)?;
        nodes.configure(1, &alone("udp"))?;
        nodes.talk()?;
        nothing_lost(streams)
    })
}

/// Whatever happens to either device, both ways come back.
#[test]
fn a_node_between_two_backends_heals_both_of_its_devices() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let nodes = Nodes::start(lab, &accepting("vxlan", "udp"))?;
        nodes.configure(0, &accepting("udp", "vxlan"))?;
        let host = &lab.hosts[0];
        for breakage in [
            "ip link del flannel.1",
            "ip link del flannel0",
            "ip link set flannel-v6.1 down",
            "ip nexthop flush proto 84",
            "ip route flush proto 84",
            "sysctl -q -w net.ipv4.conf.flannel0.rp_filter=1",
            "ip -6 neigh flush dev flannel-v6.1 nud permanent",
        ] {
            host.sh(breakage)?;
            nodes.talk().context(breakage)?;
            eventually("loose filters", || {
                for dev in ["flannel0", "flannel/1"] {
                    let filter = host.sh(&format!(
                        "sysctl -n net/ipv4/conf/{}/rp_filter",
                        dev.replace('/', ".")
                    ))?;
                    ensure!(filter.trim() == "2", "{dev}: {filter}");
                }
                Ok(())
            })
            .context(breakage)?;
        }
        Ok(())
    })
}

/// The tunnel port stays closed to strangers, and open to peers of the other backend.
#[test]
fn peers_of_the_other_backend_are_on_the_allow_list() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let nodes = Nodes::start(lab, &accepting("vxlan", "udp"))?;
        nodes.configure(1, &accepting("udp", "vxlan"))?;
        nodes.talk()?;
        let rules = lab.hosts[0].sh("nft list ruleset")?;
        for peer in [1, 2] {
            let addr = lab.hosts[peer].v4().to_string();
            ensure!(rules.contains(&addr), "{addr} is missing: {rules}");
        }
        let fdb = lab.hosts[0].sh("bridge fdb show dev flannel.1")?;
        let udp = lab.hosts[1].v4().to_string();
        ensure!(
            !fdb.contains(&udp),
            "an entry for a peer without VTEP: {fdb}"
        );
        Ok(())
    })
}

#[test]
fn pods_that_start_meanwhile_fit_both_ways() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let nodes = Nodes::start(lab, &accepting("udp", "vxlan"))?;
        nodes.configure(0, &accepting("vxlan", "udp"))?;
        for agent in &nodes.agents {
            ensure!(agent.subnet_env()?.mtu == 1430, "{:?}", agent.subnet_env()?);
        }
        let [from, to] = &nodes.pods[..] else {
            anyhow::bail!("two pods");
        };
        for family in Family::BOTH {
            for (from, to) in [(from, to), (to, from)] {
                traffic::ping_size(from.place(), to.addr(family)?, 1430)?;
                traffic::tcp(from.place(), to.place(), to.addr(family)?, 4 << 20)?;
            }
        }
        // Nodes talk to pods by both ways, and are answered.
        for (host, pod) in [(0, to), (1, from)] {
            for family in Family::BOTH {
                traffic::ping(lab.hosts[host].place(), pod.addr(family)?)?;
            }
        }
        Ok(())
    })
}

/// UDP leaves pods 22 bytes more than VXLAN. Those that run keep what they have.
#[test]
fn pods_whose_packets_have_become_too_large_get_an_error() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let nodes = Nodes::start(lab, &alone("udp"))?;
        for step in steps("udp", "vxlan") {
            for index in 0..lab.hosts.len() {
                nodes.configure(index, &step)?;
            }
        }
        let [from, to] = &nodes.pods[..] else {
            anyhow::bail!("two pods");
        };
        for family in Family::BOTH {
            let addr = to.addr(family)?;
            let larger = traffic::ping_size(from.place(), addr, 1452);
            ensure!(larger.is_err(), "it passed, so this shows nothing");
            traffic::tcp(from.place(), to.place(), addr, 4 << 20)?;
            let way = from.place().sh(&format!("ip route get {addr}"))?;
            let told = match family {
                Family::V4 => "mtu 1450",
                Family::V6 => "mtu 1430",
            };
            ensure!(way.contains(told), "{way}");
        }
        Ok(())
    })
}
