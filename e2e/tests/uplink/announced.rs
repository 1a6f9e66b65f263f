//! `--public-ip` names an address that the host has: packets leave with it, whichever interface has it.

use anyhow::{Result, ensure};
use serde_json::json;
use tweed_lab::agent::Agent;
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, config};
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::traffic;
use tweed_lab::wait::eventually;
use tweed_model::Family;

use super::{device, second_uplink};

/// Where the announced address is, and what else makes it reachable.
#[derive(Clone, Copy, Debug)]
enum Place {
    SecondOnUplink,
    Loopback,
    AnotherInterface,
}

/// The address that a host announces.
fn own(host: &Host, family: Family) -> String {
    let number = host.index + 1;
    match family {
        Family::V4 => format!("198.18.77.{number}"),
        Family::V6 => format!("fd12:c612:77::{number}"),
    }
}

fn add(host: &Host, family: Family, place: Place) -> Result<()> {
    let (flag, len) = match family {
        Family::V4 => ("-4", 32),
        Family::V6 => ("-6", 128),
    };
    let dev = match place {
        Place::SecondOnUplink => "eth0",
        Place::Loopback => "lo",
        Place::AnotherInterface => "eth1",
    };
    let addr = own(host, family);
    host.sh(&format!("ip {flag} addr add {addr}/{len} dev {dev}"))
        .map(drop)
}

/// Each host knows the way to the others' announced addresses.
fn ways(lab: &Lab, family: Family) -> Result<()> {
    let flag = if family == Family::V4 { "-4" } else { "-6" };
    for host in &lab.hosts {
        for other in lab.hosts.iter().filter(|other| other.index != host.index) {
            let via = other.addrs.get(family).expect("both families");
            let dst = own(other, family);
            host.sh(&format!("ip {flag} route add {dst} via {via} dev eth0"))?;
        }
    }
    Ok(())
}

fn pods(lab: &Lab) -> Result<Vec<Pod<'_>>> {
    Runtime::tweed().pods(&lab.hosts)
}

fn agents<'lab>(lab: &'lab Lab, family: Family) -> Result<Vec<Agent<'lab>>> {
    let option = match family {
        Family::V4 => "--public-ip",
        Family::V6 => "--public-ipv6",
    };
    let mut agents = Vec::new();
    for host in &lab.hosts {
        let launch = Launch::etcd().arg(format!("{option}={}", own(host, family)));
        agents.push(Agent::start(lab, host, &launch)?);
    }
    for agent in &mut agents {
        agent.ready()?;
        agent.sees(lab.hosts.len() - 1)?;
    }
    Ok(agents)
}

#[test]
fn packets_leave_with_the_announced_address_wherever_the_host_has_it() -> Result<()> {
    for backend in ["vxlan", "udp"] {
        for family in Family::BOTH {
            for place in [
                Place::SecondOnUplink,
                Place::Loopback,
                Place::AnotherInterface,
            ] {
                Topology::hosts(2)
                    .play(|lab| {
                        let etcd = Etcd::start(lab)?;
                        etcd.put_config(&config(&[family], &json!({ "Type": backend })))?;
                        for host in &lab.hosts {
                            if matches!(place, Place::AnotherInterface) {
                                second_uplink(lab, host)?;
                            }
                            add(host, family, place)?;
                        }
                        ways(lab, family)?;
                        let _agents = agents(lab, family)?;
                        traffic::all_reach_each_other(&pods(lab)?, family)
                    })
                    .map_err(|error| error.context(format!("{backend} {family} {place:?}")))?;
            }
        }
    }
    Ok(())
}

#[test]
fn an_announced_address_that_comes_and_goes_is_what_packets_leave_with_while_it_is_there()
-> Result<()> {
    Topology::hosts(2).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&config(&[Family::V4], &json!({ "Type": "vxlan" })))?;
        let agents = agents(lab, Family::V4)?;
        let host = &lab.hosts[0];
        let local = |addr: &str| {
            let word = format!("local {addr} ");
            eventually("the device sends from it", || device(host, &[&word]))
        };
        // Behind a NAT, for all that anybody can tell.
        local("198.18.0.1")?;
        for _ in 0..2 {
            add(host, Family::V4, Place::Loopback)?;
            local("198.18.77.1")?;
            host.sh("ip addr del 198.18.77.1/32 dev lo")?;
            local("198.18.0.1")?;
        }
        for host in &lab.hosts {
            add(host, Family::V4, Place::Loopback)?;
        }
        ways(lab, Family::V4)?;
        local("198.18.77.1")?;
        traffic::all_reach_each_other(&pods(lab)?, Family::V4)?;
        let lease = etcd.lease_of("198.18.77.1".parse()?)?;
        ensure!(lease.1["PublicIP"] == "198.18.77.1", "{lease:?}");
        drop(agents);
        Ok(())
    })
}

#[test]
fn an_address_of_the_loopback_alone_selects_the_interface_of_the_default_route() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&config(&[Family::V4], &json!({ "Type": "vxlan" })))?;
        let host = &lab.hosts[0];
        add(host, Family::V4, Place::Loopback)?;
        let launch = Launch::etcd().any_uplink();
        let launch = launch.arg(format!("--public-ip={}", own(host, Family::V4)));
        let mut agent = Agent::start(lab, host, &launch)?;
        agent.ready()?;
        device(host, &[" dev eth0 ", "local 198.18.77.1 "])
    })
}
