//! The table of `docs/FAULTS.md`: faults that are made one at a time, what the first line of `tweedd doctor` says then,
//! whether the agent stays ready, and how long it takes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::Runtime;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::wait::{eventually, timed};

/// A peer that stops answering is asked thrice; large packets are asked for each minute.
const LIMIT: Duration = Duration::from_secs(90);
/// What the scenarios are compared with.
const DOCUMENT: &str = include_str!("../../docs/FAULTS.md");
/// Flags of a node of Kubernetes.
const KUBERNETES: &[&str] = &["--kube-subnet-mgr", "--node-name=node1"];

/// One fault: its name in the document, what makes it and what mends it.
struct Fault {
    name: &'static str,
    breaks: String,
    mends: &'static str,
    /// More flags for the doctor.
    flags: &'static [&'static str],
}

fn fault(name: &'static str, breaks: impl Into<String>, mends: &'static str) -> Fault {
    Fault {
        name,
        breaks: breaks.into(),
        mends,
        flags: &[],
    }
}

/// Each run of digits as one letter: addresses, subnets and seconds are of this run.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    for letter in text.chars() {
        match letter.is_ascii_digit() {
            true if masked.ends_with('N') => {}
            true => masked.push('N'),
            false => masked.push(letter),
        }
    }
    masked
}

/// Whether the document has this row; a fact of it that ends with … may go on.
fn is_listed(name: &str, check: &str, fact: &str, ready: &str) -> bool {
    let mut rows = DOCUMENT
        .lines()
        .map(|row| row.split(" | ").collect::<Vec<_>>());
    rows.any(|row| match row[..] {
        [one, id, told, is_ready, _] => {
            let told = masked(told);
            let same = match told.strip_suffix('…') {
                Some(beginning) => masked(fact).starts_with(beginning.trim_end()),
                None => masked(fact) == told,
            };
            one == format!("| {name}") && id == format!("`{check}`") && same && is_ready == ready
        }
        _ => false,
    })
}

/// The first line of the doctor's report.
fn first_line(lab: &Lab, host: &Host, agent: &Agent<'_>, flags: &[&str]) -> Result<String> {
    let output = if flags.is_empty() {
        agent.command(&["doctor"])?
    } else {
        let mut command = Command::new(&lab.binaries.tweedd);
        command.arg("doctor").args(flags);
        for (flag, place) in [
            ("subnet-file", "/run/flannel/subnet.env"),
            ("state-dir", "/var/lib/tweed"),
            ("socket", "/run/tweed/tweedd.sock"),
        ] {
            command.arg(format!("--{flag}={place}"));
        }
        host.place().output(&mut command, "")?
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().map(str::to_owned);
    line.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits until what is found is what the document's row for this fault says, and prints the row.
fn is_told(name: &str, since: Instant, look: impl Fn() -> Result<(String, bool)>) -> Result<()> {
    let mut last = String::new();
    let told = timed(name, LIMIT, || {
        let (line, ready) = look()?;
        let cause = line.strip_prefix("likely cause: ").unwrap_or(&line);
        let (check, fact) = cause.split_once(": ").unwrap_or((cause, ""));
        let ready = if ready { "yes" } else { "no" };
        last = format!("| {name} | `{check}` | {fact} | {ready} |");
        ensure!(
            is_listed(name, check, fact, ready),
            "the document lacks\n{last}"
        );
        Ok(())
    });
    println!("{last} {:.0} s |", since.elapsed().as_secs_f64());
    told.map(drop)
}

fn shell(host: &Host, line: &str) -> Result<()> {
    host.place().cmd(["bash", "-ec", line]).map(drop)
}

/// All faults go on to the end; then the first error is that of the test.
fn play(lab: &Lab, agent: &Agent<'_>, host: &Host, faults: &[Fault]) -> Result<()> {
    let mut failed = Vec::new();
    for fault in faults {
        eventually("nothing is wrong", || {
            let line = first_line(lab, host, agent, fault.flags)?;
            let (status, reasons) = agent.get("/readyz")?;
            ensure!(
                !line.starts_with("likely cause") && status == 200,
                "{line} {reasons}"
            );
            Ok(())
        })
        .with_context(|| format!("before: {}", fault.name))?;
        let since = Instant::now();
        shell(host, &fault.breaks)?;
        let told = is_told(fault.name, since, || {
            let line = first_line(lab, host, agent, fault.flags)?;
            Ok((line, agent.get("/readyz")?.0 == 200))
        });
        failed.extend(told.err().map(|error| format!("{error:#}")));
        shell(host, fault.mends)?;
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// A chain that no packet filter of the host's own shows, as a switch or a cloud drops.
fn wall(hook: &str, rule: &str) -> String {
    format!(
        "nft 'add table netdev wall; add chain netdev wall {hook} {{ type filter hook {hook} device eth0 priority 0; }}; \
         add rule netdev wall {hook} {rule}'"
    )
}

const NO_WALL: &str = "nft delete table netdev wall";

fn on_the_way() -> Vec<Fault> {
    let (drops, full) = ("udp dport 8472 drop", "meta length gt 1400 drop");
    let both = format!("{}; {}", wall("ingress", drops), wall("egress", drops));
    vec![
        fault(
            "the tunnel's port is blocked one way",
            wall("ingress", drops),
            NO_WALL,
        ),
        fault("the tunnel's port is blocked both ways", both, NO_WALL),
        fault(
            "the tunnel's port is blocked by the host",
            "nft 'add table inet zone; add chain inet zone i { type filter hook input priority 5; }; \
             add rule inet zone i udp dport 8472 drop'",
            "nft delete table inet zone",
        ),
        fault("the path's MTU is smaller", wall("ingress", full), NO_WALL),
        fault(
            "another table drops forwarded packets",
            "nft 'add table inet zone; add chain inet zone f { type filter hook forward priority 5; policy drop; }'",
            "nft delete table inet zone",
        ),
    ]
}

fn of_the_host(peer: &str) -> Vec<Fault> {
    vec![
        fault(
            "rp_filter drops what comes back",
            format!(
                "ip link add wild up type bridge; ip route add {peer}/32 dev wild; \
                 echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter"
            ),
            "ip link del wild; echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter",
        ),
        fault(
            "a stale ARP entry",
            format!("ip neigh replace {peer} lladdr 02:00:00:00:00:99 dev eth0 nud permanent"),
            "ip neigh flush dev eth0 nud permanent",
        ),
        fault(
            "the clock is set back",
            "touch -d '+1 day' /var/lib/tweed/tweed/later",
            "rm /var/lib/tweed/tweed/later",
        ),
        fault(
            "another list comes before ours",
            r#"echo '{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"portmap"}]}' > /etc/cni/net.d/00-x.conflist"#,
            "rm /etc/cni/net.d/00-x.conflist",
        ),
        fault(
            "a plugin is missing",
            "mv /opt/cni/bin/flannel /opt/cni/bin/away",
            "mv /opt/cni/bin/away /opt/cni/bin/flannel",
        ),
        fault(
            "the uplink is down",
            "ip link set eth0 down",
            "ip link set eth0 up",
        ),
    ]
}

fn of_kubernetes() -> Vec<Fault> {
    let proxy = "nft 'add table ip kube-proxy; add chain ip kube-proxy services'";
    let of = |name, breaks: &str, mends| Fault {
        flags: KUBERNETES,
        ..fault(name, breaks, mends)
    };
    let key = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    vec![
        of(
            "br_netfilter is off",
            &format!("echo 0 > {key}"),
            "echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables",
        ),
        of(
            "kube-proxy is dead",
            proxy,
            "nft delete table ip kube-proxy",
        ),
    ]
}

/// Two hosts with agents, a runtime's list and plugins, on which nothing is wrong.
fn two(lab: &Lab) -> Result<Cluster<'_>> {
    let cluster = Cluster::on_etcd(lab, &vxlan())?;
    let (tweedd, plugin) = (lab.binaries.tweedd.display(), lab.binaries.plugin.display());
    lab.hosts[0].sh(&format!("{tweedd} install-cni --force --plugin {plugin}"))?;
    Ok(cluster)
}

#[test]
fn faults_between_hosts_are_told_as_the_table_says() -> Result<()> {
    Topology::hosts(2).outside().play(|lab| {
        let cluster = two(lab)?;
        play(lab, &cluster.agents[0], &lab.hosts[0], &on_the_way())
    })
}

#[test]
fn faults_of_a_host_are_told_as_the_table_says() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = two(lab)?;
        let peer = lab.hosts[1].v4().to_string();
        // The uplink's fault comes last: it takes routes along.
        let faults = [of_kubernetes(), of_the_host(&peer)].into_iter().flatten();
        play(
            lab,
            &cluster.agents[0],
            &lab.hosts[0],
            &faults.collect::<Vec<_>>(),
        )
    })
}

/// What the doctor of this agent's host says, and whether the agent is ready.
fn look(lab: &Lab, agent: &Agent<'_>, flags: &[&str]) -> Result<(String, bool)> {
    let line = first_line(lab, agent.host(), agent, flags)?;
    Ok((
        line,
        agent.get("/readyz").is_ok_and(|(status, _)| status == 200),
    ))
}

#[test]
fn faults_of_peers_and_of_the_store_are_told_as_the_table_says() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = two(lab)?;
        let peer = &lab.hosts[1];
        let healthy = |cluster: &Cluster<'_>| {
            eventually("nothing is wrong", || {
                let line = first_line(lab, &lab.hosts[0], &cluster.agents[0], &[])?;
                ensure!(!line.starts_with("likely cause"), "{line}");
                Ok(())
            })
        };
        healthy(&cluster)?;
        shell(peer, "nft 'add table inet zone; add chain inet zone i { type filter hook input priority 5; }; add rule inet zone i udp dport 8472 drop'")?;
        is_told("the tunnel's port is blocked by the peer", Instant::now(), || look(lab, &cluster.agents[0], &[]))?;
        shell(peer, "nft delete table inet zone")?;
        healthy(&cluster)?;
        let path = lab.folder.path().join("flanneld");
        fs::write(&path, "#!/bin/sh\nwhile :; do sleep 0.2; done\n")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let mut flanneld = Command::new(&path);
        flanneld.args(["-etcd-endpoints=http://192.0.2.1:2379", "-iface=eth0"]);
        let mut flanneld = lab.hosts[0].place().spawn(&mut flanneld)?;
        let told = is_told("two agents", Instant::now(), || look(lab, &cluster.agents[0], &[]));
        flanneld.kill()?;
        flanneld.wait()?;
        told?;
        healthy(&cluster)?;
        cluster.etcd()?.stop()?;
        is_told("the store is away", Instant::now(), || look(lab, &cluster.agents[0], &[]))
    })
}

#[test]
fn a_node_that_is_gone_is_told_as_the_table_says() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let mut cluster = Cluster::on_files(lab, &vxlan())?;
        cluster.agents[2].kill()?;
        shell(&lab.hosts[2], "ip link set eth0 down")?;
        is_told("a node is gone", Instant::now(), || {
            look(lab, &cluster.agents[0], &[])
        })
    })
}

#[test]
fn addresses_that_are_wrong_are_told_as_the_table_says() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let launch = Launch::file(lab);
        launch.set_config(lab, &vxlan())?;
        let mut agents = Agent::everywhere(lab, &launch)?;
        agents[1].terminate()?;
        let wrong = launch.clone().arg("--public-ip=192.0.2.99");
        let mut agent = Agent::start(lab, &lab.hosts[1], &wrong)?;
        is_told("a wrong public address", Instant::now(), || {
            look(lab, &agent, &[])
        })?;
        agent.terminate()?;
        let twice = launch.arg(format!("--public-ip={}", lab.hosts[0].v4()));
        let agent = Agent::start(lab, &lab.hosts[1], &twice)?;
        is_told("two nodes with one public address", Instant::now(), || {
            look(lab, &agent, &[])
        })
    })
}

#[test]
fn a_subnet_without_a_free_address_is_told_as_the_table_says() -> Result<()> {
    let mut network = vxlan();
    network["SubnetLen"] = json!(29);
    Topology::hosts(1).play(|lab| {
        let cluster = Cluster::on_files(lab, &network)?;
        let runtime = Runtime::tweed();
        let mut pods = Vec::new();
        while let Ok(pod) = runtime.pod(&lab.hosts[0]) {
            pods.push(pod);
            ensure!(pods.len() < 8, "a subnet of eight addresses has no end");
        }
        is_told("no address is free", Instant::now(), || {
            look(lab, &cluster.agents[0], &[])
        })
    })
}

#[test]
fn an_api_server_that_is_away_is_told_as_the_table_says() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let (kubeconfig, network) = (lab.folder.path().join("kubeconfig"), lab.folder.path().join("net-conf"));
        let cluster = json!({ "name": "c", "cluster": { "server": "http://127.0.0.1:1" } });
        let context = json!({ "name": "x", "context": { "cluster": "c", "user": "u" } });
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x", "clusters": [cluster], "contexts": [context],
            "users": [{ "name": "u", "user": {} }],
        });
        fs::write(&kubeconfig, config.to_string())?;
        fs::write(&network, vxlan().to_string())?;
        let launch = Launch::kube(&kubeconfig, &network).arg("--node-name=node1");
        let agent = Agent::start(lab, &lab.hosts[0], &launch)?;
        is_told("the API server is away", Instant::now(), || look(lab, &agent, &[]))
    })
}
