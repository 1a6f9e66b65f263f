//! A default route that the kernel learned by router advertisement survives the agent, which switches forwarding on.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt,
    socket, sockopt,
};
use tweed_lab::agent::Agent;
use tweed_lab::etcd::Etcd;
use tweed_lab::launch::{Launch, vxlan, vxlan_dual};
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::wait::{eventually, stays};

/// RFC 4861 §4.2: type 134, code 0, checksum (the kernel's), hop limit 64, no flags, router lifetime 30 minutes, no
/// timers.
const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];

/// The lab's switch sends a router advertisement on segment 0.
fn advertise(lab: &Lab) -> Result<()> {
    lab.switch.place().run(|| {
        let index = nix::net::if_::if_nametoindex("seg0")?;
        let fd = socket(
            AddressFamily::Inet6,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::IcmpV6,
        )?;
        // Hosts accept only routers on their link (hop limit 255).
        setsockopt(&fd, sockopt::Ipv6MulticastHops, &255)?;
        let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let to = SockaddrIn6::from(SocketAddrV6::new(all_nodes, 0, 0, index));
        sendto(fd.as_raw_fd(), &ADVERTISEMENT, &to, MsgFlags::empty())?;
        Ok(())
    })
}

/// Lets a host learn its IPv6 default route instead of having it by hand.
fn learn(lab: &Lab, host: &Host) -> Result<()> {
    host.sh("ip -6 route del default")?;
    host.sh("sysctl -q -w net.ipv6.conf.eth0.accept_ra=1")?;
    eventually("the default route is learned", || {
        advertise(lab)?;
        thread::sleep(Duration::from_millis(50));
        learned(host)
    })
}

fn learned(host: &Host) -> Result<()> {
    let routes = host.sh("ip -6 route show default")?;
    ensure!(
        routes.contains("proto ra"),
        "no learned default route: {routes:?}"
    );
    Ok(())
}

fn accept_ra(host: &Host) -> Result<String> {
    let text = host.sh("sysctl -n net.ipv6.conf.eth0.accept_ra")?;
    Ok(text.trim().to_owned())
}

#[test]
fn the_kernel_forgets_a_learned_default_route_when_forwarding_is_switched_on() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let host = &lab.hosts[0];
        learn(lab, host)?;
        host.sh("sysctl -q -w net.ipv6.conf.all.forwarding=1")?;
        ensure!(learned(host).is_err(), "this kernel has no such trap");
        Ok(())
    })
}

#[test]
fn the_agent_keeps_a_learned_default_route_and_its_renewal() -> Result<()> {
    Topology::hosts(1).play(|lab| {
        let etcd = Etcd::start(lab)?;
        etcd.put_config(&vxlan_dual())?;
        let host = &lab.hosts[0];
        learn(lab, host)?;
        let launch = Launch::etcd().any_uplink();
        for _ in 0..2 {
            let mut agent = Agent::start(lab, host, &launch)?;
            agent.ready()?;
            let forwarding = host.sh("sysctl -n net.ipv6.conf.all.forwarding")?;
            ensure!(forwarding.trim() == "1", "forwarding is {forwarding}");
            ensure!(accept_ra(host)? == "2", "accept_ra is {}", accept_ra(host)?);
            stays("the route", Duration::from_millis(300), || learned(host))?;
            // The next advertisement counts too, though the route was lost meanwhile.
            host.sh("ip -6 route del default")?;
            eventually("learned again", || {
                advertise(lab)?;
                thread::sleep(Duration::from_millis(50));
                learned(host)
            })?;
            host.sh("sysctl -q -w net.ipv6.conf.eth0.accept_ra=1")?;
            eventually("somebody else's 1 is a 2 again", || {
                ensure!(accept_ra(host)? == "2", "it is not");
                Ok(())
            })?;
            agent.ready()?;
        }
        Ok(())
    })
}

#[test]
fn without_a_learned_route_or_without_ipv6_the_switch_is_left_alone() -> Result<()> {
    for (config, learns) in [(vxlan_dual(), false), (vxlan(), true)] {
        Topology::hosts(1).play(|lab| {
            let etcd = Etcd::start(lab)?;
            etcd.put_config(&config)?;
            let host = &lab.hosts[0];
            if learns {
                learn(lab, host)?;
            } else {
                host.sh("sysctl -q -w net.ipv6.conf.eth0.accept_ra=1")?;
            }
            let mut agent = Agent::start(lab, host, &Launch::etcd())?;
            agent.ready()?;
            ensure!(accept_ra(host)? == "1", "accept_ra is {}", accept_ra(host)?);
            Ok(())
        })?;
    }
    Ok(())
}
