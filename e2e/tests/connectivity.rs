//! `tweedd connectivity` without Kubernetes: responders on hosts and in pods, named by hand.
//!
//! The way that is broken is in the report, with its direction and size, and no other way is.

use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tweed_lab::cluster::Cluster;
use tweed_lab::launch::vxlan_dual;
use tweed_lab::namespace::Place;
use tweed_lab::topology::{Lab, Topology};
use tweed_lab::wait::eventually;
use tweed_model::Family;

/// Ways between three hosts and a pod on each: six times five, in two families.
const WAYS: usize = 60;

/// Responders everywhere. They end with their hosts; we wait for them.
struct Responders<'lab> {
    lab: &'lab Lab,
    cluster: &'lab Cluster<'lab>,
    children: Vec<Child>,
}

impl Drop for Responders<'_> {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl<'lab> Responders<'lab> {
    fn start(lab: &'lab Lab, cluster: &'lab Cluster<'lab>) -> Result<Self> {
        std::fs::write(lab.folder.path().join("token"), "a token of this lab")?;
        let mut responders = Self {
            lab,
            cluster,
            children: Vec::new(),
        };
        for host in &lab.hosts {
            responders.serve(host.place(), &format!("{},{}", host.v4(), host.v6()))?;
        }
        for pod in &cluster.pods {
            let addrs = format!("{},{}", pod.addr(Family::V4)?, pod.addr(Family::V6)?);
            responders.serve(pod.place(), &addrs)?;
        }
        eventually("all is well", || {
            let report = responders.report(lab.hosts[0].place())?;
            ensure!(report["ok"] == true, "{:#}", report["findings"]);
            let ways = report["ways"].as_array().context("no ways")?;
            ensure!(ways.len() == WAYS, "{} ways", ways.len());
            Ok(())
        })?;
        Ok(responders)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.lab.binaries.tweedd);
        command.arg("connectivity");
        command
    }

    fn token(&self) -> String {
        format!(
            "--token-file={}",
            self.lab.folder.path().join("token").display()
        )
    }

    fn serve(&mut self, place: Place<'_>, addrs: &str) -> Result<()> {
        let mut command = self.command();
        command
            .arg("serve")
            .arg(self.token())
            .arg(format!("--address={addrs}"));
        self.children.push(place.spawn(&mut command)?);
        Ok(())
    }

    /// The report of a test that runs in a place.
    fn report(&self, place: Place<'_>) -> Result<Value> {
        let mut command = self.command();
        command.args(["--output=json", &self.token()]);
        for (host, pod) in self.lab.hosts.iter().zip(&self.cluster.pods) {
            let name = host.name();
            command.arg(format!("--host={name}={},{}", host.v4(), host.v6()));
            let (v4, v6) = (pod.addr(Family::V4)?, pod.addr(Family::V6)?);
            command.arg(format!("--pod={name}={v4},{v6}"));
        }
        let output = place.output(&mut command, "")?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        ensure!(
            output.status.success() == (report["ok"] == true),
            "{output:?}"
        );
        Ok(report)
    }

    /// `place: what` of each finding of a test that runs in a place, in alphabetical order.
    fn findings(&self, place: Place<'_>) -> Result<Vec<String>> {
        let report = self.report(place)?;
        let findings = report["findings"].as_array().context("no findings")?;
        let word = |finding: &Value, field: &str| -> String {
            finding[field].as_str().unwrap_or_default().to_owned()
        };
        let mut all: Vec<_> = findings
            .iter()
            .map(|finding| format!("{}: {}", word(finding, "place"), word(finding, "what")))
            .collect();
        all.sort();
        Ok(all)
    }
}

/// With `--ip-masq`: without, the bridge plugin masquerades between pods of different hosts, and the test says so.
fn start(lab: &Lab) -> Result<Cluster<'_>> {
    Cluster::on_etcd_with(lab, &vxlan_dual(), |launch| launch.arg("--ip-masq"))
}

fn expect(found: &[String], expected: &[&str]) -> Result<()> {
    ensure!(found == expected, "{found:#?}");
    Ok(())
}

#[test]
fn large_packets_that_are_lost_one_way_are_named_and_nothing_else() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let cluster = start(lab)?;
        let responders = Responders::start(lab, &cluster)?;
        let (from, to) = (&lab.hosts[1], &lab.hosts[2]);
        let rule = format!(
            "add table inet fault\n\
             add chain inet fault input {{ type filter hook input priority -300; }}\n\
             add rule inet fault input ip saddr {} udp dport 8472 meta length > 1300 drop\n",
            from.v4()
        );
        to.place().cmd_with(Command::new("nft").args(["-f", "-"]), &rule)?;
        // A connection with large answers alone does not show it.
        let found = responders.findings(cluster.pods[2].place())?;
        expect(
            &found,
            &["pods of host2 → pods of host3, IPv4 only: small packets pass, packets of 1430 bytes don't: the largest that pass have 1250; connections that send much hang"],
        )
    })
}

#[test]
fn an_overlay_that_is_cut_one_way_is_told_from_a_network_that_is() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let cluster = start(lab)?;
        let responders = Responders::start(lab, &cluster)?;
        let (from, to) = (&lab.hosts[1], &lab.hosts[2]);
        for addr in [
            format!("ip saddr {}", from.v4()),
            format!("ip6 saddr {}", from.v6()),
        ] {
            let rule = format!(
                "add table inet fault\n\
                 add chain inet fault input {{ type filter hook input priority -300; }}\n\
                 add rule inet fault input {addr} udp dport 8472 drop\n"
            );
            to.place()
                .cmd_with(Command::new("nft").args(["-f", "-"]), &rule)?;
        }
        // A pod of host2 doesn't reach the pods of host3: the test asks them by way of host3.
        let report = responders.report(cluster.pods[1].place())?;
        let findings = report["findings"].as_array().context("none")?;
        let of = |place: &str| findings.iter().find(|finding| finding["place"] == place);
        let overlay =
            of("pods of host2 → pods of host3").with_context(|| format!("{findings:#?}"))?;
        ensure!(
            overlay["what"] == "nothing arrives (no answer in 4s)",
            "{overlay}"
        );
        let hint = overlay["hint"].as_str().unwrap_or_default();
        ensure!(
            hint.starts_with("the nodes reach each other, so it is the overlay"),
            "{hint}"
        );
        ensure!(hint.contains("UDP 8472) from host2 to host3"), "{hint}");
        let other = findings.iter().find(|finding| {
            let place = finding["place"].as_str().unwrap_or_default();
            !place.contains("host2") || !place.contains("host3")
        });
        ensure!(other.is_none(), "{other:#?}");
        Ok(())
    })
}

#[test]
fn an_uplink_whose_mtu_has_shrunk_below_that_of_pods_is_named_with_what_passes() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let cluster = start(lab)?;
        let responders = Responders::start(lab, &cluster)?;
        let host = &lab.hosts[2];
        host.sh("ip link set eth0 mtu 1400")?;
        eventually("the agent has followed", || {
            let mtu = tweed_lab::fault::mtu(host, "flannel.1")?;
            ensure!(mtu == 1350, "{mtu}");
            Ok(())
        })?;
        let found = responders.findings(lab.hosts[0].place())?;
        let line = "pods of host3 → pods of every other node, IPv4 only: small packets pass, packets of 1430 bytes don't: the largest that pass have 1350, and a router on the way says 1350; connections adapt";
        ensure!(found.iter().any(|found| found == line), "{found:#?}");
        let spared = found.iter().filter(|found| !found.contains("host3")).count();
        ensure!(spared == 0, "{found:#?}");
        Ok(())
    })
}

#[test]
fn responders_refuse_what_has_no_token_and_one_that_is_gone_is_reported() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        std::fs::write(lab.folder.path().join("token"), "a token of this lab")?;
        std::fs::write(lab.folder.path().join("other"), "not that token of it")?;
        let tweedd = lab.binaries.tweedd.display().to_string();
        let file = |name: &str| {
            let path = lab.folder.path().join(name);
            format!("--token-file={}", path.display())
        };
        let host = &lab.hosts[1];
        let mut serve = Command::new(&tweedd);
        serve.args(["connectivity", "serve", &file("token")]);
        serve.arg(format!("--address={}", host.v4()));
        let mut child = host.place().spawn(&mut serve)?;
        let target = format!("--host=host2={}", host.v4());
        let test = |token: &str| {
            let mut test = Command::new(&tweedd);
            test.args(["connectivity", &file(token), &target]);
            lab.hosts[0].place().output(&mut test, "")
        };
        let outcome = (|| {
            eventually("the responder answers", || {
                let output = test("token")?;
                ensure!(output.status.success(), "{output:?}");
                Ok(())
            })?;
            let output = test("other")?;
            let text = String::from_utf8_lossy(&output.stdout);
            ensure!(output.status.code() == Some(1), "{output:?}");
            ensure!(text.contains("does it have the same token?"), "{text}");
            Ok(())
        })();
        child.kill()?;
        child.wait()?;
        outcome?;
        let output = test("token")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(text.contains("Connection refused"), "{text}");
        Ok(())
    })
}
