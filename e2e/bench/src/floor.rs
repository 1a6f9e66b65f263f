//! The least that attaching and detaching a pod can cost: a process that makes the same netlink requests and nothing
//! else. The benchmark starts itself anew for each.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use tweed_netlink::netns::Netns;
use tweed_netlink::{
    AddrSpec, Dev, LinkChange, Netfilter, Netlink, RouteSpec, TokenBucket, VethEnd, VethSpec,
};
use tweed_nft::live::table::transact;
use tweed_nft::render::{add_elements, del_elements};
use tweed_nft::{Element, Message};

/// The word that makes the benchmark do this instead of measuring.
pub const COMMAND: &str = "floor";

/// Its number.
const TCP: u8 = 6;

/// What to do, as words of a command line.
///
/// # Errors
/// When a word is missing or the kernel refuses.
pub fn run(words: &[String]) -> Result<()> {
    match words {
        [verb, netns, veth, addr, gateway, more @ ..] if verb == "ADD" => {
            let (addr, gateway) = (addr.parse()?, gateway.parse()?);
            let host = add(Path::new(netns), veth, addr, gateway)?;
            match more {
                [] => Ok(()),
                _ => limit(host, Path::new(netns), veth, addr),
            }
        }
        [verb, netns, _] if verb == "DEL" => del(Path::new(netns)),
        [verb, netns, veth, _] if verb == "DEL" => {
            unlimit(Path::new(netns), veth)?;
            del(Path::new(netns))
        }
        _ => bail!(
            "{COMMAND} ADD <netns> <veth> <addr> <gateway> [limited] | DEL <netns> <veth> [limited], not {words:?}"
        ),
    }
}

fn add(netns: &Path, veth: &str, addr: IpNet, gateway: IpAddr) -> Result<Netlink> {
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
    Ok(host)
}

/// A port that leads to the pod, a token bucket each way, and a switch.
fn limit(mut host: Netlink, netns: &Path, veth: &str, addr: IpNet) -> Result<()> {
    let bucket = TokenBucket {
        rate: 100_000_000,
        buffer: 1_562_500,
        limit: 12_500_000,
    };
    let (end, ifb) = (host.link(veth)?, ifb(veth));
    let end = end.context("there is no pair")?;
    host.put_token_bucket(end.dev(), &bucket)?;
    host.add_ifb(&ifb, 1450)?;
    let device = host.link(&ifb)?.context("there is no ifb")?;
    host.put_token_bucket(device.dev(), &bucket)?;
    host.add_redirect(end.dev(), device.dev())?;
    put_port(&port(addr)?, add_elements)?;
    let switch = "/proc/sys/net/core/somaxconn";
    Netns::open(netns)?.run(|| std::fs::write(switch, "500"))??;
    Ok(())
}

fn unlimit(netns: &Path, veth: &str) -> Result<()> {
    let mut pod = Netns::open(netns)?.netlink()?;
    let end = pod.link("eth0")?.context("there is no eth0")?;
    let mut addrs = pod.addrs(Some(end.index))?.into_iter().map(|addr| addr.net);
    let addr = addrs.find(|net| net.addr().is_ipv4());
    put_port(&port(addr.context("there is no address")?)?, del_elements)?;
    let mut host = Netlink::open()?;
    let device = host.link(&ifb(veth))?.context("there is no ifb")?;
    host.del_link(device.dev())?;
    Ok(())
}

/// A port of its own for each address, which leads there. The map is that of the plugins.
fn port(addr: IpNet) -> Result<Element> {
    let IpAddr::V4(addr) = addr.addr() else {
        bail!("{addr} is not IPv4");
    };
    let [.., last] = addr.octets();
    let [high, low] = (40_000 + u16::from(last)).to_be_bytes();
    let value = [addr.octets(), [0, 80, 0, 0]].concat();
    Ok(Element {
        key: vec![TCP, 0, 0, 0, high, low, 0, 0],
        key_end: None,
        value: Some(value),
        comment: Some("bench/floor/eth0".to_owned()),
    })
}

fn put_port(element: &Element, how: fn(&str, &str, &[Element]) -> Vec<Message>) -> Result<()> {
    let messages = how("tweed-cni", "hostport4", std::slice::from_ref(element));
    transact(&mut Netfilter::open()?, messages, None)?;
    Ok(())
}

fn ifb(veth: &str) -> String {
    veth.replace("veth", "ifb")
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
