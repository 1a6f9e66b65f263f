//! Pods change hands between our plugins and Debian's Go plugins: either side checks and removes what the other made.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tweed_lab::cni::{GO_PLUGINS, OUR_PLUGINS, Pod, Runtime};
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::{observe, traffic};
use tweed_model::Family;

#[test]
fn pods_made_by_our_plugins_are_checked_and_removed_by_the_go_plugins() -> Result<()> {
    Topology::hosts(1).play(|lab| change_hands(lab, &ours(lab)?, &go()))
}

#[test]
fn pods_made_by_the_go_plugins_are_checked_and_removed_by_ours() -> Result<()> {
    Topology::hosts(1).play(|lab| change_hands(lab, &go(), &ours(lab)?))
}

#[test]
fn both_sides_give_the_same_result_and_lay_out_the_same_pod() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let ours = ours(lab)?;
        let pods = [ours.pod(&lab.hosts[0])?, go().pod(&lab.hosts[1])?];
        let results = pods.each_ref().map(|pod| anonymous(pod.result.clone()));
        ensure!(
            results[0] == results[1],
            "results differ:\n{:#}\n{:#}",
            results[0],
            results[1]
        );
        for command in [
            "ip -4 route show",
            "ip -6 route show",
            "ip -o -4 addr show dev eth0",
        ] {
            let [mine, theirs] = pods.each_ref().map(|pod| pod.place().sh(command));
            ensure!(
                mine.as_ref().ok() == theirs.as_ref().ok(),
                "{command}: {mine:?} {theirs:?}"
            );
        }
        let [mine, theirs] = [0, 1].map(|index| reservations(&lab.hosts[index]));
        let (mine, theirs) = (mine?, theirs?);
        let names = |all: &[(String, String)]| -> Vec<String> {
            all.iter().map(|(name, _)| name.clone()).collect()
        };
        ensure!(names(&mine) == names(&theirs), "{mine:?} {theirs:?}");
        Ok(())
    })
}

#[test]
fn both_sides_share_one_pool_without_giving_an_address_twice() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let (ours, go) = (ours(lab)?, go());
        let host = &lab.hosts[0];
        let mut pods = Vec::new();
        for round in 0..6 {
            let side = if round % 2 == 0 { &ours } else { &go };
            pods.push(side.pod(host)?);
        }
        let mut addrs = pods.iter().map(Pod::v4).collect::<Result<Vec<_>>>()?;
        addrs.sort();
        addrs.dedup();
        ensure!(addrs.len() == pods.len(), "{addrs:?}");
        traffic::all_reach_each_other(&pods, Family::V4)
    })
}

fn change_hands(lab: &Lab, maker: &Runtime, remover: &Runtime) -> Result<()> {
    let host = &lab.hosts[0];
    // The first pod makes the bridge, which stays.
    let keeper = maker.pod(host)?;
    let before = observe::snapshot(host)?;
    let reserved = reservations(host)?;
    for _ in 0..3 {
        let pod = maker.pod(host)?;
        traffic::all_reach_each_other(&[pod, maker.pod(host)?], Family::V4)?;
    }
    let pod = maker.pod(host)?;
    remover.check(&pod, "eth0")?;
    remover.del(&pod, "eth0")?;
    remover.del(&pod, "eth0")?;
    ensure!(
        pod.place().sh("ip link show dev eth0").is_err(),
        "eth0 is left"
    );
    let again = reservations(host)?;
    let addr = pod.v4()?.to_string();
    ensure!(
        again.iter().all(|(name, _)| *name != addr),
        "{addr} is still reserved"
    );
    ensure!(
        reserved.iter().all(|entry| again.contains(entry)),
        "others' reservations went"
    );
    let lines = observe::difference(&before, &observe::snapshot(host)?);
    let veth = pod.result["interfaces"][1]["name"]
        .as_str()
        .unwrap_or("?")
        .to_owned();
    ensure!(
        lines.iter().all(|line| !line.contains(&veth)),
        "{veth} is left: {lines:?}"
    );
    maker.check(&keeper, "eth0")
}

fn ours(lab: &Lab) -> Result<Runtime> {
    for host in &lab.hosts {
        for name in ["bridge", "host-local"] {
            host.sh(&format!("ln -sfn tweed {OUR_PLUGINS}/{name}"))?;
        }
    }
    Ok(on(OUR_PLUGINS))
}

fn go() -> Runtime {
    on(GO_PLUGINS)
}

fn on(folder: &str) -> Runtime {
    let mut runtime = Runtime::single(json!({
        "type": "bridge",
        "bridge": "cni0",
        "mtu": 1450,
        "isGateway": true,
        "isDefaultGateway": true,
        "hairpinMode": true,
        "ipMasq": false,
        "ipam": {
            "type": "host-local",
            "ranges": [
                [{ "subnet": "10.244.7.0/24" }],
                [{ "subnet": "fd00:10:244:7::/64" }],
            ],
            // Debian's CHECK does not find its own route when the gateway is left out.
            "routes": [{ "dst": "10.244.0.0/16", "gw": "10.244.7.1" }],
        },
    }));
    runtime.path = vec![folder.to_owned()];
    runtime
}

/// A result without what is random or names one pod, and without the empty DNS part that Debian's plugins print.
fn anonymous(mut result: Value) -> Value {
    if result["dns"] == json!({})
        && let Some(parts) = result.as_object_mut()
    {
        parts.remove("dns");
    }
    if let Some(interfaces) = result["interfaces"].as_array_mut() {
        for interface in interfaces {
            for key in ["mac", "sandbox", "socketPath", "pciID"] {
                if let Some(value) = interface.get_mut(key) {
                    *value = json!(if value == "" { "" } else { "…" });
                }
            }
            if interface["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("veth"))
            {
                interface["name"] = json!("veth…");
            }
        }
    }
    result
}

/// The addresses that host-local has reserved, and what their files say.
fn reservations(host: &Host) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(host.path("/var/lib/cni/networks/cbr0"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.parse::<std::net::IpAddr>().is_ok() {
            all.push((name, fs::read_to_string(entry.path())?));
        }
    }
    all.sort();
    Ok(all)
}
