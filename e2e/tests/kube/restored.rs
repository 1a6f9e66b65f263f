//! A cluster that is restored from a backup: versions of its objects go back, and watches that go on from an earlier
//! version get no event.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tweed_lab::traffic::Stream;
use tweed_lab::wait::{TIMEOUT, eventually, timed};
use tweed_model::Family;

use crate::agents::Scene;
use crate::store::{entry, foreign};

/// So many versions are written after the backup: more than an API server writes when it starts.
const LATER: usize = 400;
/// How soon a new node is to be a peer after that.
const SECONDS: Duration = Duration::from_secs(10);

/// The API server and its etcd are stopped, and an earlier copy of etcd's data is put in their place: a node that is
/// added then is a peer within seconds, one that was added after the copy is none any more, and no packet is lost.
pub(crate) fn backup(scene: &mut Scene<'_>) -> Result<()> {
    let host = scene.host(0);
    let stream = Stream::start(&scene.pods[0], &scene.pods[1], Family::V4)?;
    scene.api.stop()?;
    scene.api.etcd().stop()?;
    scene.api.etcd().keep_copy()?;
    scene.api.etcd().resume()?;
    scene.api.resume()?;
    scene.api.apply(&filler())?;
    scene.api.apply(&foreign(70).to_string())?;
    entry(host, "a2:00:00:00:00:46", "198.18.0.70")?;
    let before = version(scene)?;

    scene.api.stop()?;
    scene.api.etcd().stop()?;
    scene.api.etcd().put_back_copy()?;
    scene.api.etcd().resume()?;
    scene.api.resume()?;
    let now = version(scene)?;
    ensure!(now < before, "versions went on: {before}, {now}");
    scene.api.apply(&foreign(71).to_string())?;
    for host in &scene.lab.hosts {
        let what = "the new node is a peer";
        let ((), taken) = timed(what, TIMEOUT, || {
            let table = host.sh("bridge fdb show dev flannel.1")?;
            ensure!(
                table.contains("a2:00:00:00:00:47 dst 198.18.0.71"),
                "{table}"
            );
            Ok(())
        })?;
        println!("  {} has it after {taken:.1?}", host.name());
        ensure!(taken < SECONDS, "only after {taken:?}");
        eventually("the node that the backup doesn't have is gone", || {
            let table = host.sh("bridge fdb show dev flannel.1")?;
            ensure!(!table.contains("198.18.0.70"), "{table}");
            Ok(())
        })?;
    }
    let loss = stream.stop()?;
    ensure!(loss.sent > 20 && loss.lost == 0, "{loss:?}");
    scene.agents[0].logged(&["it was restored from a backup"])?;
    scene.api.kubectl(&["delete", "node", "flannel71"])?;
    Ok(())
}

/// The current version of the API server's objects.
fn version(scene: &Scene<'_>) -> Result<u64> {
    let list = scene.api.kubectl(&["get", "--raw=/api/v1/nodes?limit=1"])?;
    let list: serde_json::Value = serde_json::from_str(&list)?;
    let version = list["metadata"]["resourceVersion"].as_str();
    Ok(version.context("no version")?.parse()?)
}

/// Objects that nobody needs.
fn filler() -> String {
    let mut text = String::new();
    for number in 0..LATER {
        let _ = writeln!(
            text,
            "---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: filler-{number}}}}}"
        );
    }
    text
}
