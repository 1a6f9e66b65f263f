//! The least that attaching and detaching a pod can cost: a process that makes the same netlink requests and nothing
//! else. The benchmark starts itself anew for each.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use tweed_netlink::netns::Netns;
use tweed_netlink::{AddrSpec, Dev, LinkChange, Netlink, RouteSpec, VethEnd, VethSpec};

/// The word that makes the benchmark do this instead of measuring.
pub const COMMAND: &str = "floor";

/// What to do, as words of a command line.
///
/// # Errors
/// When a word is missing or the kernel refuses.
pub fn run(words: &[String]) -> Result<()> {
    match words {
        [verb, netns, veth, addr, gateway] if verb == "ADD" => {
            add(Path::new(netns), veth, addr.parse()?, gateway.parse()?)
        }
        [verb, netns] if verb == "DEL" => del(Path::new(netns)),
        _ => bail!("{COMMAND} ADD <netns> <veth> <addr> <gateway> | DEL <netns>, not {words:?}"),
    }
}

fn add(netns: &Path, veth: &str, addr: IpNet, gateway: IpAddr) -> Result<()> {
    let netns = Netns::open(netns)?;
    let mut host = Netlink::open()?;
    let bridge = host.link("cni0")?.context("there is no cni0")?.index;
    let spec = VethSpec {
        mtu: Some(1450),
        end: VethEnd {
            name: veth,
            mac: None,
            netns: None,
        },
        peer: VethEnd {
            name: "eth0",
            mac: None,
            netns: Some(std::os::fd::AsFd::as_fd(&netns)),
        },
    };
    let bridge = Dev {
        index: bridge,
        name: "cni0",
    };
    host.add_veth_port(&spec, bridge)?;
    let mut pod = netns.netlink()?;
    let index = pod.link("eth0")?.context("there is no eth0")?.index;
    let dev = Dev {
        index,
        name: "eth0",
    };
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    pod.set_link(dev, &up)?;
    pod.add_addr(dev, &AddrSpec::plain(addr))?;
    let default = IpNet::new(gateway, 0).context("a default route")?.trunc();
    pod.add_route(&RouteSpec::to(default).dev(dev).via(gateway))?;
    Ok(())
}

fn del(netns: &Path) -> Result<()> {
    let mut pod = Netns::open(netns)?.netlink()?;
    let index = pod.link("eth0")?.context("there is no eth0")?.index;
    pod.del_link(Dev {
        index,
        name: "eth0",
    })?;
    Ok(())
}
