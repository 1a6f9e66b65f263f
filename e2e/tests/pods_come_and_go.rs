//! Pods that come and go while the agent repairs others: it disturbs no plugin, and leaves other objects alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_lab::cluster::Cluster;
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::launch::vxlan_dual;
use tweed_lab::topology::{Host, Topology};
use tweed_lab::traffic::ping;
use tweed_lab::wait::{eventually, stays};

use crate::timed::pod_healing::{full, port, shell};

#[test]
fn a_hundred_pods_that_come_and_go_leave_nothing_while_the_agent_heals() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let host = &lab.hosts[0];
        let runtime = full_without_ports();
        let keeper = runtime.pod(host)?;
        let keeper_port = port(&keeper)?;
        let first = at_once(50, |_| runtime.pod(host))?;
        let status = cluster.agents[0].status()?;
        let vandal = format!(
            "while [ -e /run/vandal ]; do nft delete table inet tweed-cni 2>/dev/null || true; ip link set {keeper_port} nomaster; sleep 0.1; done"
        );
        shell(host, "touch /run/vandal")?;
        let second = std::thread::scope(|scope| -> Result<Vec<Pod<'_>>> {
            let vandal = scope.spawn(|| shell(host, &vandal));
            let leave = scope.spawn(|| at_once(50, |index| runtime.del(&first[index], "eth0")));
            let come = at_once(50, |_| runtime.pod(host));
            let left = leave.join();
            shell(host, "rm /run/vandal")?;
            ensure!(vandal.join().is_ok_and(|done| done.is_ok()), "no damage was done");
            ensure!(left.is_ok_and(|left| left.is_ok()), "a DEL failed");
            come
        })?;
        let repairs = |status: &Value| status["kernel"]["repairs"].as_u64().unwrap_or(0);
        let after = cluster.agents[0].status()?;
        ensure!(repairs(&after) > repairs(&status), "nothing was healed meanwhile");
        eventually("those that came all stand, and of the others nothing is left", || {
            let table = shell(host, "nft list table inet tweed-cni")?;
            for pod in second.iter().chain([&keeper]) {
                let (id, addr) = (&pod.id, pod.v4()?);
                ensure!(table.contains(&format!("{addr} comment \"cbr0/{id}")), "{addr} of {id}");
                ping(host.place(), addr)?;
            }
            for pod in &first {
                ensure!(!table.contains(&pod.id), "rules of {} are left", pod.id);
            }
            let records = shell(host, "ls -A /run/tweed/cni | grep -c json")?;
            ensure!(records.trim() == "52", "{records} records");
            let ports = shell(host, "ip -o link show master cni0 | wc -l")?;
            ensure!(ports.trim() == "52", "{ports} ports");
            Ok(())
        })?;
        at_once(50, |index| runtime.del(&second[index], "eth0"))?;
        runtime.del(&keeper, "eth0")?;
        let left = shell(host, "ls -A /run/tweed/cni")?;
        ensure!(left.lines().count() == 1, "{left}");
        Ok(())
    })
}

fn full_without_ports() -> Runtime {
    let mut runtime = full();
    runtime.plugins[0]["runtimeConfig"] = json!({});
    runtime
}

/// Does this so many times at once, and returns all results.
fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count)
            .map(|index| scope.spawn(move || work(index)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().ok().context("a thread panicked")?)
            .collect()
    })
}

#[test]
fn fifty_pods_that_come_and_go_cost_no_full_passes() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let runtime = full_without_ports();
        let count = || -> Result<(u64, u64, u64)> {
            let status = cluster.agents[0].status()?;
            let of = |value: &Value| value.as_u64().context("a number");
            let kernel = &status["kernel"];
            Ok((
                of(&kernel["full_passes"])?,
                of(&status["attached"]["looks"])?,
                of(&kernel["repairs"])?,
            ))
        };
        // The first one makes bridge and table.
        let first = runtime.pod(&lab.hosts[0])?;
        std::thread::sleep(Duration::from_secs(1));
        let before = count()?;
        for _ in 0..50 {
            let pod = runtime.pod(&lab.hosts[0])?;
            runtime.del(&pod, "eth0")?;
        }
        let after = count()?;
        println!(
            "50 ADD and DEL: {} full passes, {} looks at attachments",
            after.0 - before.0,
            after.1 - before.1
        );
        ensure!(after.0 - before.0 <= 1, "{before:?} {after:?}");
        ensure!(
            after.2 == before.2,
            "nothing was to be repaired: {before:?} {after:?}"
        );
        runtime.del(&first, "eth0")
    })
}

#[test]
fn a_bridge_without_attachments_and_one_without_records_are_nobodys() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let host = &lab.hosts[0];
        shell(
            host,
            "ip link add other type bridge && ip link add v0 master other type veth peer name v1",
        )?;
        Runtime::tweed().del(&cluster.pods[0], "eth0")?;
        shell(host, "ip link del cni0")?;
        stays("both stay as they are", Duration::from_secs(3), || {
            ensure!(shell(host, "ip link show cni0").is_err(), "cni0 is back");
            let other = shell(host, "ip -o link show other; ip -o link show v0")?;
            ensure!(!other.contains("UP"), "{other}");
            Ok(())
        })
    })
}

#[test]
fn a_pod_whose_namespace_is_gone_is_swept_and_one_whose_port_is_gone_is_named() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let cluster = Cluster::on_etcd(lab, &vxlan_dual())?;
        let host = &lab.hosts[0];
        let runtime = full();
        let dead = runtime.pod(host)?;
        dead.remove_netns()?;
        eventually("its records and rules are swept", || swept(host, &dead))?;

        let alive = runtime.pod(host)?;
        shell(host, &format!("ip link del {}", port(&alive)?))?;
        eventually("the agent names it", || {
            let status = cluster.agents[0].status()?;
            let failed = status["attached"]["failed"].to_string();
            ensure!(
                failed.contains(&alive.id) && failed.contains("delete the pod"),
                "{status}"
            );
            ensure!(status["ready"] == false, "{status}");
            Ok(())
        })?;
        runtime.del(&alive, "eth0")?;
        eventually("the agent is ready", || {
            let status = cluster.agents[0].status()?;
            ensure!(status["ready"] == true, "{status}");
            Ok(())
        })
    })
}

fn swept(host: &Host, pod: &Pod<'_>) -> Result<()> {
    let left = shell(
        host,
        &format!(
            "grep -l {id} /run/tweed/cni/* 2>/dev/null || true; nft list table inet tweed-cni | grep {id} || true",
            id = pod.id
        ),
    )?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}
