//! `tweedd doctor` finds nothing on healthy hosts, and names the cause of each fault that is made.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::document::{blocks, with};
use tweed_lab::launch::{config, vxlan, vxlan_dual};
use tweed_lab::topology::{Host, Topology};
use tweed_lab::wait::eventually;
use tweed_model::Family;

/// Twice what it takes at most, for a machine with other work.
const LONGEST: Duration = Duration::from_secs(10);

/// What the doctor says, and its exit code.
fn doctor(agent: &Agent<'_>) -> Result<(Value, Option<i32>)> {
    let output = agent.command(&["doctor", "-o", "json"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&text)
        .with_context(|| format!("{text} {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((report, output.status.code()))
}

/// The checks that found something, and don't follow from another.
fn found(report: &Value) -> Vec<(String, String)> {
    let findings = report["findings"].as_array().into_iter().flatten();
    let worth = findings.filter(|one| {
        let severity = one["severity"].as_str().unwrap_or_default();
        !matches!(severity, "ok" | "info" | "skipped") && one["follows"].is_null()
    });
    let word = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    worth
        .map(|one| (word(one, "id"), word(one, "severity")))
        .collect()
}

fn is_healthy(agent: &Agent<'_>) -> Result<()> {
    let (report, code) = doctor(agent)?;
    // A kernel without a list of its modules is no fault of the host.
    let mut found = found(&report);
    found
        .retain(|(id, severity)| (id.as_str(), severity.as_str()) != ("kernel-modules", "unknown"));
    ensure!(
        found.is_empty() && code == Some(0),
        "{code:?} {found:?}\n{report:#}"
    );
    Ok(())
}

#[test]
fn a_healthy_host_gives_no_warning_with_any_backend() -> Result<()> {
    let udp = config(&[Family::V4], &json!({ "Type": "udp" }));
    let host_gw = config(&[Family::V4], &json!({ "Type": "host-gw" }));
    for network in [vxlan(), vxlan_dual(), udp, host_gw] {
        Topology::hosts(2).play(|lab| {
            let cluster = Cluster::on_files(lab, &network)?;
            eventually("nothing is found", || is_healthy(&cluster.agents[0]))
        })?;
    }
    Ok(())
}

/// Makes a fault, and waits until the doctor names that check as the cause, and says so by its exit code.
fn names(agent: &Agent<'_>, id: &str, severity: &str) -> Result<()> {
    eventually(&format!("{id} is named"), || {
        let (report, code) = doctor(agent)?;
        ensure!(report["likely_cause"] == id, "{report:#}");
        ensure!(
            found(&report).contains(&(id.to_owned(), severity.to_owned())),
            "{report:#}"
        );
        ensure!(
            code == Some(if severity == "fail" { 2 } else { 0 }),
            "{code:?}"
        );
        Ok(())
    })
}

/// A fault, what mends it, the check that names it, and how severe it is.
type Fault = (&'static str, &'static str, &'static str, &'static str);

const FAULTS: &[Fault] = &[
    (
        "nft 'add table inet zone; add chain inet zone f { type filter hook forward priority 5; policy drop; }'",
        "nft delete table inet zone",
        "firewall-forward",
        "fail",
    ),
    (
        "nft 'add table inet zone; add chain inet zone i { type filter hook input priority 5; }; \
         add rule inet zone i udp dport 8472 drop'",
        "nft delete table inet zone",
        "firewall-input",
        "fail",
    ),
    (
        "ip link add wild up type bridge; ip addr add 10.244.250.1/24 dev wild",
        "ip link del wild",
        "overlap",
        "warn",
    ),
    (
        "ip link add wild up type bridge; ip route add 10.244.0.0/16 dev wild table 77; \
         ip rule add pref 10 to 10.244.0.0/16 lookup 77",
        "ip rule del pref 10; ip link del wild",
        "paths",
        "fail",
    ),
    (
        "until rm -f /run/flannel/subnet.env; mkdir /run/flannel/subnet.env 2>/dev/null; do :; done",
        "rmdir /run/flannel/subnet.env",
        "subnet-env",
        "fail",
    ),
];

fn shell(host: &Host, line: &str) -> Result<()> {
    host.place().cmd(["bash", "-ec", line]).map(drop)
}

#[test]
fn each_fault_of_a_host_is_named_and_no_longer_when_it_is_mended() -> Result<()> {
    Topology::hosts(2).outside().play(|lab| {
        let cluster = Cluster::on_files(lab, &vxlan())?;
        let (host, agent) = (&lab.hosts[0], &cluster.agents[0]);
        eventually("nothing is found", || is_healthy(agent))?;
        for (fault, mends, id, severity) in FAULTS {
            shell(host, fault)?;
            names(agent, id, severity)?;
            shell(host, mends)?;
            eventually(&format!("{id} is mended"), || is_healthy(agent))?;
        }
        Ok(())
    })
}

#[test]
fn a_store_that_is_away_and_an_agent_that_is_gone_are_the_cause() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        eventually("nothing is found", || is_healthy(&cluster.agents[0]))?;
        cluster.etcd()?.stop()?;
        names(&cluster.agents[0], "store", "fail")?;
        let agent = &mut cluster.agents[0];
        agent.kill()?;
        names(agent, "agent", "fail")?;
        let text = agent.command(&["doctor"])?.stdout;
        let text = String::from_utf8_lossy(&text);
        ensure!(
            text.starts_with("likely cause: agent: no agent runs here"),
            "{text}"
        );
        Ok(())
    })
}

#[test]
fn a_host_that_never_had_an_agent_is_told_so_within_seconds() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let mut command = Command::new(&lab.binaries.tweedd);
        command.args(["doctor", "--all", "--etcd-endpoints=http://192.0.2.99:2379"]);
        let start = Instant::now();
        let output = lab.hosts[0].place().output(&mut command, "")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.code() == Some(2), "{output:?}");
        ensure!(text.contains("no agent runs here"), "{text}");
        ensure!(start.elapsed() < LONGEST, "{:?}", start.elapsed());
        Ok(())
    })
}

#[test]
fn the_commands_of_the_doctor_work_as_documented() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_files(lab, &vxlan())?;
        let host = &lab.hosts[0];
        host.sh("mount -t tmpfs -o mode=755 lab /usr/local/bin")?;
        symlink(&lab.binaries.tweedd, host.path("/usr/local/bin/tweedd"))?;
        eventually("nothing is found", || is_healthy(&cluster.agents[0]))?;
        let test = "the_commands_of_the_doctor_work_as_documented";
        let block = with(&blocks("docs/DOCTOR.md", test)?, "doctor")?.clone();
        let printed = block.run(host.place(), Path::new("/"))?;
        for words in [
            " checks: 0 wrong, 0 warnings",
            "ok      mtu ",
            "\"schema\": 1",
        ] {
            ensure!(printed.contains(words), "{words} is not in {printed}");
        }
        Ok(())
    })
}
