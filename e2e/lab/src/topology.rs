//! Hosts joined by a switch.
//!
//! ```text
//!   host1 eth0      host2 eth0      host3 eth0        outside eth0
//!      │               │               │                  │
//!      └────── seg0 ───┘               └── seg1 ──┐       │ seg9
//!               │ 198.18.0.254                    │       │
//!             ┌─┴─────────── switch: a bridge per segment, a router between them ─┐
//! ```
//! Each segment is a layer-2 network of its own: `198.18.<segment>.0/24` and `fd12:c612:<segment>::/64`. The switch
//! routes between segments and knows no pod network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tweed_model::{Dual, Family};

use crate::binaries::Binaries;
use crate::dump;
use crate::namespace::{Namespace, Place};

/// The uplink of every host.
pub const UPLINK: &str = "eth0";
/// The segment on which the outside host lives.
pub const OUTSIDE: u8 = 9;

/// Hosts and segments of a lab.
#[derive(Clone, Debug)]
pub struct Topology {
    segments: Vec<u8>,
    mtu: u32,
    outside: bool,
}

impl Topology {
    /// This many hosts on one segment, with an uplink MTU of 1500.
    pub fn hosts(count: usize) -> Self {
        Self::on_segments(&vec![0; count])
    }

    /// One host for each entry, on that segment.
    pub fn on_segments(segments: &[u8]) -> Self {
        Self {
            segments: segments.to_vec(),
            mtu: 1500,
            outside: false,
        }
    }

    /// Sets the MTU of every uplink.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Adds a host that belongs to nobody, on a segment of its own.
    #[must_use]
    pub fn outside(mut self) -> Self {
        self.outside = true;
        self
    }

    /// Builds the lab, plays the scenario on it, and prints the state of every host if that fails.
    ///
    /// # Errors
    /// Errors of building and of the scenario.
    pub fn play(self, scenario: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
        self.build()?.check(scenario)
    }

    /// Builds the lab.
    ///
    /// # Errors
    /// When namespaces or devices cannot be made.
    pub fn build(self) -> Result<Lab> {
        Lab::new(&self)
    }
}

/// Hosts and what joins them. Dropping it ends them all.
#[derive(Debug)]
pub struct Lab {
    /// The hosts, `host1` first.
    pub hosts: Vec<Host>,
    /// The host that belongs to nobody, if asked for.
    pub outside: Option<Host>,
    /// Bridges and router; the store's server runs here.
    pub switch: Namespace,
    /// The binaries under test.
    pub binaries: Binaries,
    /// A folder that every host sees, removed with the lab: logs, the file store.
    pub folder: TempDir,
    mtu: u32,
}

/// A host with an uplink.
#[derive(Debug)]
pub struct Host {
    /// Position in the lab, from 0; the last byte of its addresses is one more.
    pub index: u8,
    /// Addresses of the uplink.
    pub addrs: Dual<IpAddr>,
    /// The layer-2 network of the uplink.
    pub segment: u8,
    ns: Namespace,
    logs: PathBuf,
}

impl Lab {
    fn new(topology: &Topology) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::Builder::new()
            .prefix(&format!("tweed-lab-{}-{number}-", std::process::id()))
            .tempdir()?;
        let mut lab = Self {
            hosts: Vec::new(),
            outside: None,
            switch: Namespace::new("switch")?,
            binaries: Binaries::locate()?,
            folder,
            mtu: topology.mtu,
        };
        lab.switch.place().sh(
            "sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0",
        )?;
        for segment in &topology.segments {
            lab.join(*segment)?;
        }
        if topology.outside {
            let host = lab.make_host("outside", 9, OUTSIDE)?;
            lab.outside = Some(host);
        }
        Ok(lab)
    }

    /// Plays a scenario, and prints the state of every host if it fails.
    ///
    /// # Errors
    /// Errors of the scenario.
    pub fn check(&self, scenario: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let outcome = scenario(self);
        if outcome.is_err() {
            self.dump();
        }
        outcome
    }

    /// Adds a host to a running lab.
    ///
    /// # Errors
    /// When namespaces or devices cannot be made.
    pub fn join(&mut self, segment: u8) -> Result<&Host> {
        let index = u8::try_from(self.hosts.len()).context("too many hosts")?;
        let host = self.make_host(&format!("host{}", index + 1), index, segment)?;
        self.hosts.push(host);
        self.hosts.last().context("just pushed")
    }

    /// The host that belongs to nobody.
    ///
    /// # Errors
    /// When the topology has none.
    pub fn outside(&self) -> Result<&Host> {
        self.outside
            .as_ref()
            .context("this lab has no outside host")
    }

    /// The switch's address on a segment, which is also the hosts' gateway.
    pub fn gateway(segment: u8) -> Dual<IpAddr> {
        addrs(segment, 254)
    }

    /// Prints the state of every host, and the end of every log.
    pub fn dump(&self) {
        for host in self.hosts.iter().chain(&self.outside) {
            eprintln!("{}", dump::state(host.place()));
        }
        eprintln!("{}", dump::logs(self.folder.path()));
    }

    fn make_host(&self, name: &str, index: u8, segment: u8) -> Result<Host> {
        self.lay_segment(segment)?;
        let host = Host {
            index,
            addrs: addrs(segment, index + 1),
            segment,
            ns: Namespace::new(name)?,
            logs: self.folder.path().to_owned(),
        };
        let (pid, port) = (host.ns.init_pid(), format!("to-{name}"));
        // Both ends are made where they belong, so that parallel labs never meet in one namespace.
        batch(&format!(
            "link add name {UPLINK} mtu {mtu} netns {pid} type veth peer name {port} mtu {mtu} netns {switch}",
            mtu = self.mtu,
            switch = self.switch.init_pid()
        ))?;
        self.switch
            .place()
            .sh(&format!("ip link set {port} master seg{segment} up"))?;
        let gateway = Self::gateway(segment);
        let mut script = format!("link set {UPLINK} up\n");
        for (family, addr) in host.addrs.iter() {
            let (len, extra) = match family {
                Family::V4 => (24, ""),
                Family::V6 => (64, " nodad"),
            };
            script += &format!("addr add {addr}/{len} dev {UPLINK}{extra}\n");
            let via = gateway.get(family).context("gateway has both families")?;
            script += &format!("route add default via {via} dev {UPLINK}\n");
        }
        let mut ip = std::process::Command::new("ip");
        host.place().cmd_with(ip.args(["-batch", "-"]), &script)?;
        host.place()
            .cmd(["ln", "-s"].iter().map(AsRef::as_ref).chain([
                self.binaries.plugin.as_os_str(),
                "/opt/cni/bin/tweed".as_ref(),
            ]))?;
        Ok(host)
    }

    fn lay_segment(&self, segment: u8) -> Result<()> {
        let switch = self.switch.place();
        let bridge = format!("seg{segment}");
        if switch.sh(&format!("ip link show dev {bridge}")).is_ok() {
            return Ok(());
        }
        let gateway = Self::gateway(segment);
        let script = format!(
            "link add {bridge} type bridge forward_delay 0 mcast_snooping 0\n\
             link set {bridge} mtu {} up\n\
             addr add {}/24 dev {bridge}\n\
             addr add {}/64 dev {bridge} nodad\n",
            self.mtu,
            gateway.v4.context("both families")?,
            gateway.v6.context("both families")?
        );
        let mut ip = std::process::Command::new("ip");
        switch.cmd_with(ip.args(["-batch", "-"]), &script)?;
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            self.dump();
        }
    }
}

impl Host {
    /// The host's name.
    pub fn name(&self) -> &str {
        self.ns.name()
    }

    /// The host's namespaces.
    pub fn ns(&self) -> &Namespace {
        &self.ns
    }

    /// The host itself as a place to run things.
    pub fn place(&self) -> Place<'_> {
        self.ns.place()
    }

    /// Runs words on the host; see [`Place::sh`].
    ///
    /// # Errors
    /// When the program fails.
    pub fn sh(&self, line: &str) -> Result<String> {
        self.place().sh(line)
    }

    /// A path of the host as seen from outside.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.ns.path(inside)
    }

    /// Where logs of this host's processes go.
    pub fn log(&self, what: &str) -> PathBuf {
        self.logs.join(format!("{}-{what}.log", self.name()))
    }

    /// The uplink's IPv4 address.
    pub fn v4(&self) -> IpAddr {
        self.addrs.v4.expect("every host has an IPv4 address")
    }

    /// The uplink's IPv6 address.
    pub fn v6(&self) -> IpAddr {
        self.addrs.v6.expect("every host has an IPv6 address")
    }
}

fn addrs(segment: u8, last: u8) -> Dual<IpAddr> {
    Dual::of_addrs([
        IpAddr::V4(Ipv4Addr::new(198, 18, segment, last)),
        IpAddr::V6(Ipv6Addr::new(
            0xfd12,
            0xc612,
            u16::from(segment),
            0,
            0,
            0,
            0,
            u16::from(last),
        )),
    ])
}

fn batch(line: &str) -> Result<()> {
    let output = std::process::Command::new("ip")
        .args(line.split_whitespace())
        .output()
        .context("run ip")?;
    anyhow::ensure!(
        output.status.success(),
        "ip {line}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
