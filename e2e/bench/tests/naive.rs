//! What backend `udp` is measured against carries packets: a naive loop that did not would be easy to outdo.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use tweed_bench::dataplane::naive::Loop;
use tweed_bench::dataplane::paths::lay_tun;
use tweed_lab::flannel::Node;
use tweed_lab::topology::Topology;
use tweed_lab::traffic;

#[test]
fn a_loop_with_one_packet_a_call_carries_pings_and_streams() -> Result<()> {
    Topology::hosts(2).play(|lab| {
        let nodes = [Node::of(&lab.hosts[0])?, Node::of(&lab.hosts[1])?];
        let mut loops = Vec::new();
        let mut pods = Vec::new();
        for (index, host) in lab.hosts.iter().enumerate() {
            let (own, other) = (&nodes[index], &nodes[1 - index]);
            lay_tun(host, own)?;
            let local = host.v4().to_string().parse()?;
            let remote = other.public.to_string().parse()?;
            let routes = [(other.subnet, remote)];
            loops.push(
                host.place()
                    .run(|| Loop::open("flannel0", local, &routes))?,
            );
            pods.push(own.go_plugins().pod(host)?);
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let threads: Vec<_> = loops
                .iter_mut()
                .map(|one| scope.spawn(|| one.carry(&stop)))
                .collect();
            let (from, to) = (&pods[0], &pods[1]);
            let carried = traffic::ping(from.place(), to.v4()?)
                .and_then(|_| traffic::tcp(from.place(), to.place(), to.v4()?, 4 << 20));
            stop.store(true, Ordering::Relaxed);
            for thread in threads {
                thread.join().ok().context("a loop panicked")??;
            }
            carried.map(drop)
        })
    })
}
