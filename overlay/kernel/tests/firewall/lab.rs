//! Namespaces, and what the tests do in them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tweed_attach::live::Records;
use tweed_attach::record::{Record, file_name};
use tweed_kernel::{Kernel, Linux};
use tweed_netlink::lab::Namespace;
pub(crate) use tweed_netlink::lab::sh;
use tweed_netlink::{Netfilter, netns};
use tweed_nft::example::dual_stack;
use tweed_nft::{PolicyInput, Ruleset, diff, live};
use tweed_state::Op;
use tweed_state::attached::{Repair, repairs};

/// Until duplicate address detection is through, nobody asks for neighbours: that takes longer than a test.
const PREPARE: &str = "ip link set lo up; sysctl -qw net.ipv6.conf.default.accept_dad=0";

/// Runs the test in a network namespace of its own.
pub(crate) fn isolated<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    netns::isolated(|| {
        sh(PREPARE);
        test()
    })
}

/// Feeds text to `nft -f`.
pub(crate) fn nft(text: &str) {
    use std::io::Write;
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{stderr}");
}

/// What the agent's kernel thread does for the attachments whose records are in a folder.
pub(crate) struct Healer(Linux);

impl Healer {
    pub(crate) fn of(folder: &Path) -> Self {
        let nowhere = folder.join("nowhere");
        Self(
            Linux::open()
                .unwrap()
                .with_attachments(Records::new(folder, &nowhere)),
        )
    }

    /// Looks and puts back; returns how much that was, and what was refused.
    pub(crate) fn look(&mut self) -> (usize, Vec<String>) {
        let seen = self.0.attachments(&[]).unwrap();
        let mut restored = 0;
        let mut refused = Vec::new();
        for repair in repairs(&seen.wanted, &seen.there) {
            let of_table = match &repair {
                Repair::Masquerade(owner, _) | Repair::HostPorts(owner, _) => Some(owner.clone()),
                _ => None,
            };
            if of_table
                .as_ref()
                .is_some_and(|owner| seen.unsure.contains(owner))
            {
                continue;
            }
            match self.0.apply(&Op::Attached(repair)) {
                Ok(()) => restored += usize::from(of_table.is_some()),
                Err(error) => refused.push(error.to_string()),
            }
        }
        (restored, refused)
    }

    /// A healer, and the folder in which it finds this record, as the plugin leaves it.
    pub(crate) fn with(record: &Record) -> (TempDir, Self) {
        Self::with_file(&file_name(&record.owner()), &record.render())
    }

    /// The same with any record's file.
    pub(crate) fn with_file(name: &str, text: &str) -> (TempDir, Self) {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        let healer = Self::of(folder.path());
        (folder, healer)
    }

    /// Looks and puts back; what that was, in words. Nothing is refused.
    pub(crate) fn repairs(&mut self) -> Vec<String> {
        let seen = self.0.attachments(&[]).unwrap();
        let repairs = repairs(&seen.wanted, &seen.there).into_iter();
        repairs
            .map(|repair| {
                let words = repair.to_string();
                self.0.apply(&Op::Attached(repair)).unwrap();
                words
            })
            .collect()
    }

    /// Does damage one after the other, and has each repaired, until all that is shown is as before.
    pub(crate) fn heals<'d>(
        &mut self,
        shown: impl Fn() -> String,
        damages: impl IntoIterator<Item = &'d str>,
    ) {
        let before = shown();
        assert_eq!(self.repairs(), [""; 0], "all is well");
        for damage in damages {
            sh(damage);
            let repairs = self.repairs();
            assert!(!repairs.is_empty(), "{damage}");
            assert_eq!(shown(), before, "{damage}: {repairs:?}");
            assert_eq!(self.repairs(), [""; 0], "{damage}");
        }
    }

    /// Looks and puts back where nothing is refused; how much that was.
    pub(crate) fn restored(&mut self) -> usize {
        let (restored, refused) = self.look();
        assert!(refused.is_empty(), "{refused:?}");
        restored
    }
}

/// Brings the table into the wanted state, and checks that it is.
pub(crate) fn converge(socket: &mut Netfilter, want: &Ruleset) {
    let have = live::observe(socket, &want.table).unwrap();
    if let Some(change) = diff(want, have.as_ref()) {
        live::apply(socket, &change).unwrap();
    }
    let have = live::observe(socket, &want.table).unwrap();
    assert_eq!(have.as_ref(), Some(&want.state()));
    assert_eq!(diff(want, have.as_ref()), None);
}

/// A node's policy over VXLAN: network 10.244.0.0/16 and fd00:10:244::/48, of which subnet 1 is ours; two peers each.
pub(crate) fn policy() -> PolicyInput {
    let mut policy = dual_stack();
    let tunnels = policy.tunnels.as_mut().unwrap();
    tunnels.ports.remove(&8285);
    tunnels.inner.remove("flannel0");
    tunnels.uplink = "uplink".to_owned();
    tunnels.sources = None;
    let peers = ["192.0.2.2", "192.0.2.3", "2001:db8::2", "2001:db8::3"];
    tunnels.peers = Some(peers.map(addr).into());
    policy
}

/// The allow-list of a policy.
pub(crate) fn peers(policy: &mut PolicyInput) -> &mut BTreeSet<IpAddr> {
    let tunnels = policy.tunnels.as_mut().unwrap();
    tunnels.peers.as_mut().unwrap()
}

pub(crate) fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A neighbour of the test's namespace: a namespace joined to it by a veth pair. Removed at the end.
pub(crate) struct Neighbour(Namespace);

impl Neighbour {
    /// Both ends of the pair are called `link` on our side and `eth0` there; `ours` and `theirs` are addresses with
    /// prefix lengths, comma separated.
    pub(crate) fn new(link: &str, ours: &str, theirs: &str) -> Self {
        let this = Self(Namespace::new("tweed-fw"));
        this.sh(PREPARE);
        let ns = this.0.name();
        sh(&format!(
            "ip link add {link} type veth peer name eth0 netns {ns}"
        ));
        for addr in ours.split(',') {
            sh(&format!("ip addr add {addr} dev {link} {}", nodad(addr)));
        }
        sh(&format!("ip link set {link} up"));
        this.sh("ip link set eth0 up");
        for addr in theirs.split(',') {
            this.sh(&format!("ip addr add {addr} dev eth0 {}", nodad(addr)));
        }
        this
    }

    /// Runs a shell command there.
    pub(crate) fn sh(&self, command: &str) -> String {
        self.0.sh(command)
    }

    /// Runs code there.
    pub(crate) fn enter<T: Send>(&self, visit: impl FnOnce() -> T + Send) -> T {
        self.0.netns().run(visit).unwrap()
    }

    /// A UDP socket there.
    pub(crate) fn socket(&self, addr: &str) -> UdpSocket {
        self.enter(|| socket(addr))
    }
}

fn nodad(addr: &str) -> &'static str {
    if addr.contains(':') { "nodad" } else { "" }
}

/// A UDP socket in this thread's namespace.
pub(crate) fn socket(addr: &str) -> UdpSocket {
    let socket = UdpSocket::bind(addr).unwrap_or_else(|error| panic!("bind {addr}: {error}"));
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    socket
}

/// Sends a datagram and returns the source address that the receiver sees.
pub(crate) fn source_seen(from: &UdpSocket, to: &UdpSocket) -> IpAddr {
    source_seen_at(from, to, to.local_addr().unwrap())
}

/// The same for a receiver that is reached by another address than it is bound to.
pub(crate) fn source_seen_at(from: &UdpSocket, to: &UdpSocket, dest: SocketAddr) -> IpAddr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mark = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    from.send_to(&mark, dest).unwrap();
    let mut got = [0; 64];
    let (len, source) = to
        .recv_from(&mut got)
        .unwrap_or_else(|error| panic!("nothing came from {from:?} to {dest}: {error}"));
    assert_eq!(got[..len], mark);
    source.ip()
}
