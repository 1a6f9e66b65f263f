//! The agent's main thread never blocks, whatever the host and the store do.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::vxlan;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::wait::eventually;

const LEASES: usize = 1000;
const ROUNDS: usize = 5;
const LASTS: Duration = Duration::from_secs(8);
/// Between two of one load, so that the processors are never all busy: a thread that has a lock of the allocator and is
/// interrupted for another program delays the main thread, and no code of the agent can help that.
const PAUSE: Duration = Duration::from_millis(20);
const BLOCKED: &str = "tweed_main_thread_blocked_seconds_max";
/// The longest that the main thread may block, in seconds.
const MOST: f64 = 0.005;

/// Leases of nodes that don't exist.
fn announce(store: &Path) -> Result<()> {
    for number in 0..LEASES {
        let (high, low) = (number / 250, number % 250);
        let lease = json!({
            "PublicIP": format!("198.18.{}.{}", 100 + high, low + 1),
            "BackendType": "vxlan",
            "BackendData": { "VNI": 1, "VtepMAC": format!("a2:00:00:01:{high:02x}:{low:02x}") },
        });
        let name = format!("10.{}.{low}.0-24", 1 + high);
        fs::write(
            store.join(name).with_added_extension("json"),
            lease.to_string(),
        )?;
    }
    Ok(())
}

fn again(over: &AtomicBool, mut load: impl FnMut() -> Result<()>) -> Result<usize> {
    let mut times = 0;
    while !over.load(Ordering::Relaxed) {
        load()?;
        times += 1;
        thread::sleep(PAUSE);
    }
    Ok(times)
}

fn flap(host: &Host) -> Result<()> {
    host.sh("ip link add flap type veth peer name flop")?;
    host.sh("ip addr add 192.0.2.77/24 dev flap")?;
    host.sh("ip link set flap up")?;
    host.sh("ip link set flop up")?;
    host.sh("ip route add default via 192.0.2.1 dev flap metric 4000")?;
    host.sh("ip link del flap")?;
    Ok(())
}

fn filter(host: &Host) -> Result<()> {
    for rules in [
        "add table inet churn; add chain inet churn c { type filter hook forward priority 0; }; \
         add rule inet churn c ip daddr 203.0.113.0/24 drop",
        "delete table inet churn",
    ] {
        host.place().cmd(["nft", rules])?;
    }
    Ok(())
}

fn ask(agent: &Agent<'_>) -> Result<()> {
    for path in ["/metrics", "/readyz", "/healthz"] {
        agent.get(path)?;
    }
    Ok(())
}

/// What waits by design does so each time. What the machine's other work causes, such as a thread that was interrupted
/// while it had a lock of the allocator, doesn't.
#[test]
fn the_main_thread_stands_still_for_nothing_under_load() -> Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let blocked = loaded()?;
        if blocked <= MOST {
            eprintln!("blocked {blocked} s at most");
            return Ok(());
        }
        rounds.push(blocked);
    }
    bail!("the main thread stood still in each of {ROUNDS} rounds, for {rounds:?} seconds")
}

/// The longest that the main thread of a fresh agent stood still under load, in seconds.
fn loaded() -> Result<f64> {
    let mut stood = 0.0;
    Topology::hosts(2).play(|lab| {
        let mut config = vxlan();
        config["Network"] = "10.0.0.0/8".into();
        config["SubnetMin"] = "10.244.0.0".into();
        let cluster = Cluster::on_files(lab, &config)?;
        let (host, agent) = (&lab.hosts[0], &cluster.agents[0]);
        let store = lab.folder.path().join("store/subnets");
        // At its start the agent writes files, and waits for the disk.
        let before = agent.metric(BLOCKED)?;
        let over = &AtomicBool::new(false);
        let loads: [&(dyn Fn() -> Result<()> + Sync); 4] =
            [&|| flap(host), &|| filter(host), &|| ask(agent), &|| {
                agent.status().map(drop)
            }];
        let times = thread::scope(|scope| {
            let loads = loads.map(|load| scope.spawn(move || again(over, load)));
            let start = Instant::now();
            let announced = announce(&store);
            thread::sleep(LASTS.saturating_sub(start.elapsed()));
            over.store(true, Ordering::Relaxed);
            let times = loads.map(|load| load.join().unwrap_or_else(|_| Ok(0)));
            announced.map(|()| times)
        })?;
        for times in times {
            ensure!(times? > 3, "a load that was none");
        }
        eventually("all nodes are peers", || {
            let peers = agent.status()?["peers"].clone();
            ensure!(peers == LEASES + 1, "{peers} peers");
            Ok(())
        })?;
        let blocked = agent.metric(BLOCKED)?;
        // Nothing was above what the start took.
        if blocked > before {
            stood = blocked;
        }
        Ok(())
    })?;
    Ok(stood)
}
