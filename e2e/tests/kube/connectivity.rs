//! The connectivity test as users run it: the manifest applied, the Job's log read.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tweed_lab::topology::Host;

use crate::scene::{Scene, in_kubelet_time, root};

const NAMESPACE: &str = "--namespace=kube-tweed-connectivity";

const SECOND: Duration = Duration::from_secs(1);

/// All is well; then large packets are lost one way, then all packets of the overlay; and each time the Job says just
/// that.
pub(crate) fn test(scene: &mut Scene<'_>) -> Result<()> {
    scene.agents()?;
    let api = &scene.cluster.api;
    let manifest = fs::read_to_string(root().join("manifests/connectivity.yaml"))?;
    let start = Instant::now();
    api.apply(&manifest)?;
    let outcome = (|| {
        let well = report(scene, true)?;
        println!("{well}  the test took {:.1?}", start.elapsed());
        ensure!(well.contains("60 of 60 ways"), "{well}");
        let (from, to) = (&scene.lab.hosts[1], &scene.lab.hosts[2]);

        let broken = with_loss(scene, &manifest, from, to, "meta length > 1300")?;
        let line = "pods of host2 → pods of host3, IPv4 only: small packets pass, packets of 1430 bytes don't: \
                    the largest that pass have 1250; connections that send much hang";
        ensure!(broken.lines().any(|found| found == line), "{broken}");
        for place in places(&broken) {
            let expected = place.starts_with("pods of host2") || place.starts_with("host2");
            ensure!(
                expected && place.contains("→ pods of host3, IPv4"),
                "{place} in {broken}"
            );
        }

        let broken = with_loss(scene, &manifest, from, to, "meta length > 0")?;
        let line = "pods of host2 → pods of host3, IPv4 only: nothing arrives (no answer in 4s)";
        ensure!(broken.lines().any(|found| found == line), "{broken}");
        let hint = "the nodes reach each other, so it is the overlay";
        ensure!(broken.contains(hint), "{broken}");
        // Services and DNS suffer too, on these nodes, where one of their pods is on the other.
        for place in places(&broken) {
            ensure!(
                !place.contains("host1") && !place.contains("every"),
                "{place} in {broken}"
            );
        }
        Ok(())
    })();
    let gone = api.kubectl(&["delete", "namespace", "kube-tweed-connectivity"]);
    outcome.and(gone.map(drop))
}

/// On a node that is busy, kube-proxy learns of the responders only when the test already runs; nothing is broken then.
pub(crate) fn late(scene: &mut Scene<'_>) -> Result<()> {
    scene.agents()?;
    let api = &scene.cluster.api;
    let manifest = fs::read_to_string(root().join("manifests/connectivity.yaml"))?;
    let lasting =
        |part: &&str| !part.contains("kind: DaemonSet\n") && !part.contains("kind: Job\n");
    let without: Vec<_> = manifest.split("\n---\n").filter(lasting).collect();
    let without = without.join("\n---\n");
    let (node, host) = (&scene.cluster.nodes[1], &scene.lab.hosts[1]);
    let outcome = (|| {
        api.apply(&without)?;
        let service = api.get(&[NAMESPACE, "service", "connectivity"])?;
        let addr: IpAddr = serde_json::from_value(service["spec"]["clusterIP"].clone())?;
        in_kubelet_time("a service with nobody behind it turns us away", || {
            let tried = host
                .place()
                .run(|| Ok(TcpStream::connect_timeout(&(addr, 8479).into(), SECOND)))?;
            let refused = tried.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
            ensure!(refused, "{addr} does something else");
            Ok(())
        })?;
        node.proxy_stands_still(true)?;
        api.apply(&manifest)?;
        in_kubelet_time("the Job's pod runs", || {
            let job = api.get(&[NAMESPACE, "job", "connectivity"])?;
            ensure!(job["status"]["ready"] == 1, "{}", job["status"]);
            Ok(())
        })?;
        thread::sleep(4 * SECOND);
        node.proxy_stands_still(false)?;
        report(scene, true).map(drop)
    })();
    let goes_on = node.proxy_stands_still(false);
    let gone = api.kubectl(&["delete", "namespace", "kube-tweed-connectivity"]);
    outcome.and(goes_on).and(gone.map(drop))
}

/// Runs the test again while a node drops some of the overlay's packets of another node.
fn with_loss(
    scene: &Scene<'_>,
    manifest: &str,
    from: &Host,
    to: &Host,
    which: &str,
) -> Result<String> {
    let rules = format!(
        "add table inet fault\n\
         add chain inet fault input {{ type filter hook input priority -300; }}\n\
         add rule inet fault input ip saddr {} udp dport 8472 {which} drop\n",
        from.v4()
    );
    to.place()
        .cmd_with(Command::new("nft").args(["-f", "-"]), &rules)?;
    let api = &scene.cluster.api;
    api.kubectl(&["delete", NAMESPACE, "job", "connectivity"])?;
    api.apply(manifest)?;
    let report = report(scene, false).inspect(|report| println!("{report}"));
    to.sh("nft delete table inet fault")?;
    report
}

/// What the Job prints when it has ended, which it must have done well or not.
fn report(scene: &Scene<'_>, well: bool) -> Result<String> {
    let api = &scene.cluster.api;
    let log = || api.kubectl(&["logs", NAMESPACE, "job/connectivity"]);
    let kind = if well { "Complete" } else { "Failed" };
    in_kubelet_time(&format!("the Job is {kind}"), || {
        let job = api.get(&[NAMESPACE, "job", "connectivity"])?;
        let conditions = job["status"]["conditions"].as_array().context("it runs")?;
        let ended = conditions
            .iter()
            .any(|condition| condition["type"] == kind && condition["status"] == "True");
        ensure!(ended, "{conditions:?}: {}", log().unwrap_or_default());
        Ok(())
    })
    .with_context(|| pods(scene))?;
    log()
}

fn pods(scene: &Scene<'_>) -> String {
    let api = &scene.cluster.api;
    let pods = api.kubectl(&["describe", "pods", NAMESPACE]);
    pods.unwrap_or_else(|error| format!("{error:#}"))
}

/// Where the findings of a report lie.
fn places(report: &str) -> impl Iterator<Item = &str> {
    let lines = report
        .lines()
        .filter(|line| line.contains(" → ") && line.contains(": "));
    lines.filter_map(|line| line.split_once(": ").map(|(place, _)| place))
}
