//! The operator's commands give right answers, with and without a running agent.

use std::fs;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{GO_PLUGINS, OUR_PLUGINS, Runtime};
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::wait::eventually;
use tweed_lab::{observe, traffic};
use tweed_model::Family;

/// Exit code for drift.
const DRIFT: i32 = 2;
/// Exit code for a command line that makes no sense.
const USAGE: i32 = 64;

#[test]
fn plan_names_what_is_missing_and_changes_nothing_with_and_without_an_agent() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let (host, subnet) = (&lab.hosts[0], cluster.agents[1].subnet(Family::V4)?);
        let agent = &mut cluster.agents[0];
        eventually("nothing is to be done", || {
            expect(&agent.command(&["plan"])?, 0, "").map(drop)
        })?;
        agent.terminate()?;
        expect(&agent.command(&["plan"])?, 0, "")?;

        host.sh(&format!("ip route del {subnet}"))?;
        let before = observe::snapshot(host)?;
        expect(&agent.command(&["plan"])?, DRIFT, &subnet.to_string())?;
        let text = expect(&agent.command(&["plan", "-o", "json"])?, DRIFT, "put route")?;
        serde_json::from_str::<Value>(&text)?;
        ensure!(
            before == observe::snapshot(host)?,
            "planning changed something"
        );
        Ok(())
    })
}

#[test]
fn status_tells_lease_peers_and_the_end_of_the_agent() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let mut cluster = Cluster::on_etcd(lab, &vxlan())?;
        let subnet = cluster.agents[0].subnet(Family::V4)?.to_string();
        let agent = &mut cluster.agents[0];
        let status = agent.status()?.to_string();
        let key = subnet.replace('/', "-");
        ensure!(
            status.contains(&key) || status.contains(&subnet),
            "{status}"
        );
        let people = expect(&agent.command(&["status"])?, 0, "")?;
        ensure!(
            people.contains(&key) || people.contains(&subnet),
            "{people}"
        );
        ensure!(agent.metric("tweed_peers")? == 1.0, "one peer");
        let running = agent.status()?;
        agent.kill()?;
        let text = expect(&agent.command(&["status"])?, 1, "no agent runs")?;
        ensure!(text.contains(&subnet), "{text}");
        let text = expect(&agent.command(&["status", "--output=json"])?, 1, "drift")?;
        let dead: Value = serde_json::from_str(&text)?;
        ensure!(dead["ready"] == false && dead["schema"] == 2, "{dead}");
        ensure!(dead["drift"]["puts"] == json!([]), "{dead}");
        let keys = |status: &Value| -> Vec<String> {
            let fields = status.as_object().into_iter().flatten();
            fields.map(|(key, _)| key.clone()).collect()
        };
        ensure!(keys(&dead) == keys(&running), "{dead}\n{running}");
        lab.hosts[0].sh("ip link set flannel.1 down")?;
        expect(&agent.command(&["status"])?, 1, "tweedd plan")?;
        Ok(())
    })
}

#[test]
fn the_screen_lists_the_peer_and_is_drawn_again_until_nobody_reads_on() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_files(lab, &vxlan())?;
        cluster.talks(Family::V4)?;
        let agent = &cluster.agents[0];
        let peer = cluster.agents[1].subnet(Family::V4)?.trunc().to_string();
        eventually("peer and bridge are there", || {
            let text = expect(&agent.command(&["status"])?, 0, &peer)?;
            ensure!(text.starts_with("ready    yes, since "), "{text}");
            ensure!(
                text.contains("bridge   cni0 ") && text.contains(", 1 pod\n"),
                "{text}"
            );
            Ok(())
        })?;
        let watching = format!(
            "timeout 60 {} status --watch=1 | grep -m 3 '^at '",
            lab.binaries.tweedd.display(),
        );
        let times = lab.hosts[0].place().cmd(["sh", "-c", &watching])?;
        ensure!(
            times.lines().count() == 3 && times.contains(" UTC"),
            "{times}"
        );
        Ok(())
    })
}

#[test]
fn leases_are_listed_and_released_by_key_or_subnet() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_files(lab, &vxlan())?;
        let agent = &cluster.agents[0];
        let list: Value =
            serde_json::from_str(&agent.store_command(&["leases", "list", "-o", "json"])?)?;
        ensure!(
            list["leases"].as_array().is_some_and(|all| all.len() == 2),
            "{list}"
        );
        let text = agent.store_command(&["config", "get"])?;
        ensure!(serde_json::from_str::<Value>(&text)? == vxlan(), "{text}");
        ensure!(
            agent
                .store_command(&["leases", "release", "10.244.255.0/24"])
                .is_err(),
            "released nothing"
        );
        Ok(())
    })
}

#[test]
fn a_wrong_configuration_is_refused_by_key_and_value_and_the_old_one_stays() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let launch = Launch::file(lab);
        launch.set_config(lab, &vxlan())?;
        for (key, value, words) in [
            ("SubnetLen", "31", "SubnetLen"),
            ("Network", "\"10.244.0.0\"", "Network"),
            ("Backend", r#"{"Type": "ipsec"}"#, "ipsec"),
            ("Backend", r#"{"Type": "vxlan", "VNI": 16777216}"#, "VNI"),
        ] {
            let mut wrong = vxlan();
            wrong[key] = serde_json::from_str(value)?;
            let error = launch
                .set_config(lab, &wrong)
                .err()
                .with_context(|| format!("{wrong} was accepted"))?;
            ensure!(format!("{error:#}").contains(words), "{error:#}");
        }
        let mut agent = Agent::start(lab, &lab.hosts[0], &launch)?;
        agent.ready()?;
        Ok(())
    })
}

#[test]
fn install_cni_makes_a_host_ready_for_pods_and_leaves_foreign_files_alone() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan())?;
        let host = &lab.hosts[0];
        host.sh(&format!("rm {OUR_PLUGINS}/tweed"))?;
        host.place()
            .cmd(["sh", "-c", &format!("echo foreign > {OUR_PLUGINS}/bridge")])?;
        let tweedd = lab.binaries.tweedd.display();
        let install = format!(
            "{tweedd} install-cni --plugin {}",
            lab.binaries.plugin.display()
        );
        let report = host.sh(&install)?;
        ensure!(
            report.contains(&format!("{OUR_PLUGINS}/bridge")),
            "{report}"
        );
        let kept = fs::read_to_string(host.path(format!("{OUR_PLUGINS}/bridge")))?;
        ensure!(kept == "foreign\n", "{kept}");
        host.sh(&format!("{install} --force"))?;
        host.sh(&install)?;

        let runtime = installed(lab)?;
        let pods = [runtime.pod(host)?, runtime.pod(host)?];
        traffic::all_reach_each_other(&pods, Family::V4)?;
        ensure!(
            cluster.agents[0]
                .subnet(Family::V4)?
                .contains(&pods[0].v4()?),
            "{:?}",
            pods[0].result
        );
        runtime.check(&pods[0], "eth0")?;
        runtime.del(&pods[0], "eth0")
    })
}

#[test]
fn flags_that_make_no_sense_end_with_64_and_say_why() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let tweedd = lab.binaries.tweedd.display().to_string();
        for (words, reason) in [
            ("run --no-such-flag", "--no-such-flag"),
            ("run --lease-ttl=never", "never"),
            ("leasse list", "leasse"),
            ("config get --store=folder", "folder"),
        ] {
            let mut command = std::process::Command::new(&tweedd);
            let output = lab.hosts[0]
                .place()
                .output(command.args(words.split(' ')), "")?;
            let text = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(USAGE), "{words}: {output:?}");
            ensure!(text.contains(reason), "{words}: {text}");
        }
        Ok(())
    })
}

/// The list that `install-cni` placed, as a runtime reads it.
fn installed(lab: &Lab) -> Result<Runtime> {
    let path = lab.hosts[0].path("/etc/cni/net.d/10-flannel.conflist");
    let list: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let text = |key: &str| {
        let text = list[key].as_str();
        text.map(str::to_owned)
            .with_context(|| format!("no {key} in {list}"))
    };
    Ok(Runtime {
        name: text("name")?,
        cni_version: text("cniVersion")?,
        plugins: list["plugins"].as_array().context("no plugins")?.clone(),
        path: vec![OUR_PLUGINS.to_owned(), GO_PLUGINS.to_owned()],
    })
}

/// Checks how a command ended, and gives what it printed.
fn expect(output: &Output, code: i32, words: &str) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(code), "{output:?}");
    ensure!(text.contains(words), "{words:?} is not in {text}");
    Ok(text)
}
