//! `make demo`: three hosts on this machine, pods that talk, a device that comes back, a host that leaves and joins.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tweed_lab::agent::{Agent, peer_routes};
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::fault::{Peer, is_up};
use tweed_lab::launch::{Launch, vxlan_dual};
use tweed_lab::report::{Table, bad, bold, duration, faint, good};
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::traffic::{self, Stream};
use tweed_lab::wait::{TIMEOUT, timed};
use tweed_model::Family;

fn main() -> ExitCode {
    let start = Instant::now();
    match show() {
        Ok(()) => {
            let taken = duration(start.elapsed());
            println!(
                "\n{} in {taken}; nothing is left behind.\n",
                good("All of it worked")
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\n{} {error:#}\n", bad("The demo failed:"));
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<()> {
    println!("\n{}", bold("Tweed: three hosts, one pod network"));
    say(
        "Each host is a network namespace with its own routing and file system; a switch joins them.",
    );
    say("They share a folder as their store. On real machines that would be etcd.");
    Topology::hosts(3).play(acts)
}

fn acts(lab: &Lab) -> Result<()> {
    let launch = Launch::file(lab).arg("--ip-masq");
    launch.set_config(lab, &vxlan_dual())?;
    let mut agents = start_agents(lab, &launch)?;
    let mut pods = attach_pods(lab)?;
    who_reaches_whom(&pods)?;
    delete_a_device(lab, &agents, &pods)?;
    leave_and_join(lab, &launch, &mut agents, &mut pods)?;
    who_reaches_whom(&pods)
}

fn start_agents<'lab>(lab: &'lab Lab, launch: &Launch) -> Result<Vec<Agent<'lab>>> {
    heading("tweedd run, on each host");
    let mut agents = lab
        .hosts
        .iter()
        .map(|host| Agent::start(lab, host, launch))
        .collect::<Result<Vec<_>>>()?;
    let mut table = Table::new(["host", "uplink", "pod subnets", "MTU", "ready after"]);
    for agent in &mut agents {
        let taken = agent.ready()?;
        let env = agent.subnet_env()?;
        let subnets = env.subnets.values().map(|net| net.trunc().to_string());
        table.row([
            agent.host().name().to_owned(),
            agent.host().v4().to_string(),
            subnets.collect::<Vec<_>>().join("  "),
            env.mtu.to_string(),
            duration(taken),
        ]);
    }
    print!("{}", table.terminal("  "));
    for agent in &agents {
        agent.sees(agents.len() - 1)?;
    }
    Ok(agents)
}

fn attach_pods(lab: &Lab) -> Result<Vec<Pod<'_>>> {
    heading("A pod on each host, attached by the tweed CNI plugin");
    let mut table = Table::new(["host", "pod", "addresses", "CNI ADD took"]);
    let mut pods = Vec::new();
    for host in &lab.hosts {
        let mut pod = Pod::new(host)?;
        let start = Instant::now();
        pod.result = Runtime::tweed().add(&pod, "eth0")?;
        let taken = start.elapsed();
        let addrs = pod.addrs()?;
        let addrs: Vec<_> = addrs.values().map(ToString::to_string).collect();
        table.row([host.name(), &pod.netns, &addrs.join("  "), &duration(taken)]);
        pods.push(pod);
    }
    print!("{}", table.terminal("  "));
    Ok(pods)
}

fn who_reaches_whom(pods: &[Pod<'_>]) -> Result<()> {
    heading("Who reaches whom (round-trip time, IPv4 / IPv6)");
    for family in Family::BOTH {
        traffic::all_reach_each_other(pods, family)?;
    }
    let label = |pod: &Pod<'_>| format!("{} on {}", pod.netns, pod.host.name());
    let mut table = Table::new(
        ["from \\ to".to_owned()]
            .into_iter()
            .chain(pods.iter().map(label)),
    );
    for from in pods {
        let mut row = vec![label(from)];
        for to in pods {
            row.push(if from.id == to.id {
                faint("·")
            } else {
                let v4 = traffic::ping(from.place(), to.addr(Family::V4)?)?;
                let v6 = traffic::ping(from.place(), to.addr(Family::V6)?)?;
                good(&format!("{} / {}", duration(v4), duration(v6)))
            });
        }
        table.row(row);
    }
    print!("{}", table.terminal("  "));
    Ok(())
}

fn delete_a_device(lab: &Lab, agents: &[Agent<'_>], pods: &[Pod<'_>]) -> Result<()> {
    heading("Somebody deletes the VXLAN device of host2, under traffic from host1 to host2");
    let host = &lab.hosts[1];
    let peers =
        [&agents[0], &agents[2]].map(|agent| Peer::of(agent.host(), agent.subnet(Family::V4)?));
    let stream = Stream::start(&pods[0], &pods[1], Family::V4)?;
    std::thread::sleep(Duration::from_millis(300));
    say("host2# ip link del flannel.1");
    host.sh("ip link del flannel.1")?;
    let (_, taken) = timed("the repair", TIMEOUT, || {
        ensure!(is_up(host, "flannel.1")?, "the device is down");
        for peer in &peers {
            peer.as_ref()
                .map_err(|error| anyhow::anyhow!("{error:#}"))?
                .is_programmed(host)?;
        }
        Ok(())
    })?;
    std::thread::sleep(Duration::from_millis(300));
    let loss = stream.stop()?;
    say(&format!(
        "{} in {}: device, address, routes, neighbours and FDB entries are back; {} of {} packets were lost, the longest silence was {}.",
        good("Repaired"),
        bold(&duration(taken)),
        loss.lost,
        loss.sent,
        duration(loss.gap)
    ));
    Ok(())
}

fn leave_and_join<'lab>(
    lab: &'lab Lab,
    launch: &Launch,
    agents: &mut Vec<Agent<'lab>>,
    pods: &mut Vec<Pod<'lab>>,
) -> Result<()> {
    heading("host3 leaves, and joins again");
    let mut leaver = agents.pop().context("three agents")?;
    let pod = pods.pop().context("three pods")?;
    let subnet = leaver.subnet(Family::V4)?;
    Runtime::tweed().del(&pod, "eth0")?;
    pod.remove_netns()?;
    let key = lease_key(&leaver)?;
    leaver.terminate()?;
    say(&format!("host1# tweedd leases release '{key}'"));
    agents[0].store_command(&["leases", "release", &key])?;
    let (_, taken) = timed("host1 forgets host3", TIMEOUT, || {
        let routes = peer_routes(&lab.hosts[0], Family::V4)?;
        ensure!(!routes.contains(&subnet), "{subnet} is still routed");
        Ok(())
    })?;
    say(&format!(
        "{}: host1 and host2 dropped its routes in {}.",
        good("Gone"),
        duration(taken)
    ));

    let mut joiner = Agent::start(lab, &lab.hosts[2], launch)?;
    let ready = joiner.ready()?;
    let again = joiner.subnet(Family::V4)?;
    joiner.sees(2)?;
    agents.push(joiner);
    let pod = Runtime::tweed().pod(&lab.hosts[2])?;
    say(&format!(
        "{}: ready after {}, with {} {again}, and a new pod {}.",
        good("Back"),
        duration(ready),
        if again == subnet {
            "the same subnet"
        } else {
            "another subnet"
        },
        pod.v4()?
    ));
    pods.push(pod);
    Ok(())
}

/// The lease's key: `10.244.3.0-24&fd00:10:244:3::-64`.
fn lease_key(agent: &Agent<'_>) -> Result<String> {
    let subnets = agent.subnet_env()?.subnets;
    let parts = subnets
        .values()
        .map(|net| format!("{}-{}", net.network(), net.prefix_len()));
    Ok(parts.collect::<Vec<_>>().join("&"))
}

fn heading(text: &str) {
    println!("\n{}", bold(text));
}

fn say(text: &str) {
    println!("  {text}");
}
