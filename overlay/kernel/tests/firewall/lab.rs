//! Namespaces, and what the tests do in them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use tweed_model::Dual;
use tweed_netlink::Netfilter;
use tweed_nft::{Mark, Masquerade, PolicyInput, PolicyNetwork, Ruleset, Tunnels, diff, live};

/// Until duplicate address detection is through, nobody asks for neighbours: that takes longer than a test.
const PREPARE: &str = "ip link set lo up; sysctl -qw net.ipv6.conf.default.accept_dad=0";

/// Runs the test in a thread with a network namespace of its own, loopback up. Processes and threads started inside
/// are in it too.
pub(crate) fn isolated<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("kernel tests need root");
            sh(PREPARE);
            test()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a shell command in this thread's namespace; returns what it prints.
pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
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

/// A node's policy: network 10.244.0.0/16 and fd00:10:244::/48, of which subnet 1 is ours; two peers each.
pub(crate) fn policy() -> PolicyInput {
    let net = |network: &str, subnet: &str| PolicyNetwork {
        network: network.parse().unwrap(),
        subnet: subnet.parse().unwrap(),
    };
    let vxlan = Mark {
        name: "VXLAN 1".to_owned(),
        offset: 12,
        bytes: vec![0, 0, 1],
    };
    PolicyInput {
        table: "tweed".to_owned(),
        networks: Dual {
            v4: Some(net("10.244.0.0/16", "10.244.1.0/24")),
            v6: Some(net("fd00:10:244::/48", "fd00:10:244:1::/64")),
        },
        masquerade: Some(Masquerade { fully_random: true }),
        tunnels: Some(Tunnels {
            ports: [(8472, Some(vxlan))].into(),
            uplink: "uplink".to_owned(),
            inner: ["cni0", "flannel.1", "flannel-v6.1"]
                .map(str::to_owned)
                .into(),
            way_back: true,
            peers: Some(
                ["192.0.2.2", "192.0.2.3", "2001:db8::2", "2001:db8::3"]
                    .map(addr)
                    .into(),
            ),
            sources: None,
        }),
    }
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
pub(crate) struct Neighbour {
    name: String,
}

impl Neighbour {
    /// Both ends of the pair are called `link` on our side and `eth0` there; `ours` and `theirs` are addresses with
    /// prefix lengths, comma separated.
    pub(crate) fn new(link: &str, ours: &str, theirs: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tweed-fw-{}-{count}", std::process::id());
        sh(&format!("ip netns add {name}"));
        let this = Self { name };
        this.sh(PREPARE);
        let ns = &this.name;
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
        self.enter(|| sh(command))
    }

    /// Runs code there.
    pub(crate) fn enter<T: Send>(&self, visit: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(file, CloneFlags::CLONE_NEWNET).unwrap();
                visit()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A UDP socket there.
    pub(crate) fn socket(&self, addr: &str) -> UdpSocket {
        self.enter(|| socket(addr))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
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
