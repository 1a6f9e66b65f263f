//! Sockets in namespaces, and whether one reaches another.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tweed_netlink::netns::Netns;

use super::lab::{Call, Host, Pod, sh};

/// How long a packet that comes may take, and one that doesn't is waited for.
const TIMEOUT: Duration = Duration::from_secs(2);
const SHORT: Duration = Duration::from_millis(400);

/// Where a socket is opened: in the test's own namespace, which is the host's, or in a pod's.
#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    Host,
    Pod(&'a Pod),
}

impl At<'_> {
    /// Opens something there.
    pub(crate) fn open<T: Send>(self, open: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Host => open(),
            Self::Pod(pod) => Netns::open(pod.path()).unwrap().run(open).unwrap(),
        }
    }
}

/// A program that listens on a port of every address, with TCP and UDP.
pub(crate) struct Server {
    tcp: [TcpListener; 2],
    udp: [UdpSocket; 2],
}

impl Server {
    /// Starts to listen.
    pub(crate) fn at(place: At<'_>, port: u16) -> Self {
        // The first is of one family alone, so that the second can have the same port.
        let addrs = [format!("0.0.0.0:{port}"), format!("[::]:{port}")];
        place.open(|| Self {
            tcp: addrs.clone().map(|addr| {
                let listener = listen(&addr);
                listener.set_nonblocking(true).unwrap();
                listener
            }),
            udp: addrs.map(|addr| {
                let socket = datagram(&addr);
                socket.set_nonblocking(true).unwrap();
                socket
            }),
        })
    }

    /// The source of a connection that is made there; `None` if it doesn't get through.
    pub(crate) fn tcp_from(&self, from: At<'_>, to: &str) -> Option<IpAddr> {
        let to: SocketAddr = to.parse().unwrap();
        let stream = from.open(|| TcpStream::connect_timeout(&to, SHORT));
        let _stream = stream.ok()?;
        self.until(TIMEOUT, || {
            let mut accepted = self.tcp.iter().map(TcpListener::accept);
            accepted.find_map(|got| Some(got.ok()?.1.ip()))
        })
    }

    /// The source of a datagram that is sent there; the answer must come back.
    pub(crate) fn udp_from(&self, from: At<'_>, to: &str) -> Option<IpAddr> {
        let to: SocketAddr = to.parse().unwrap();
        let socket = from.open(|| client(to));
        self.udp_through(&socket)
    }

    /// The same with a socket that has been used before.
    pub(crate) fn udp_through(&self, socket: &UdpSocket) -> Option<IpAddr> {
        socket.send(b"ping").ok()?;
        let seen = self.until(SHORT, || self.answer())?;
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut bytes = [0; 16];
        let length = socket.recv(&mut bytes).ok()?;
        assert_eq!(&bytes[..length], b"pong");
        Some(seen)
    }

    /// The source of a datagram that is sent there; the answer may get lost.
    pub(crate) fn receives(&self, from: At<'_>, to: &str) -> Option<IpAddr> {
        let to: SocketAddr = to.parse().unwrap();
        let socket = from.open(|| client(to));
        socket.send(b"ping").ok()?;
        self.until(SHORT, || self.answer())
    }

    fn answer(&self) -> Option<IpAddr> {
        let mut bytes = [0; 16];
        self.udp.iter().find_map(|socket| {
            let (_, from) = socket.recv_from(&mut bytes).ok()?;
            socket.send_to(b"pong", from).unwrap();
            Some(from.ip())
        })
    }

    fn until<T>(&self, time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let end = Instant::now() + time;
        loop {
            let found = look();
            if found.is_some() || Instant::now() > end {
                return found;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn listen(addr: &str) -> TcpListener {
    let listen = || TcpListener::bind(addr);
    retry_v6only(addr, listen)
}

fn datagram(addr: &str) -> UdpSocket {
    retry_v6only(addr, || UdpSocket::bind(addr))
}

/// The standard library opens IPv6 sockets for both families, which the system's default can change.
fn retry_v6only<T>(addr: &str, bind: impl Fn() -> io::Result<T>) -> T {
    if addr.starts_with('[') {
        std::fs::write("/proc/sys/net/ipv6/bindv6only", "1").unwrap();
    }
    bind().unwrap_or_else(|error| panic!("bind {addr}: {error}"))
}

/// A UDP socket that talks to one address.
pub(crate) fn client(to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(to).unwrap();
    socket
}

/// A machine beside the host, which has 192.0.2.1 and 2001:db8:9::1 on the wire between them.
pub(crate) fn outside(addr: u8) -> Pod {
    let other = Pod::new();
    let (link, name) = (format!("wire{addr}"), other.name());
    sh("sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0");
    sh(&format!(
        "ip link add {link} type veth peer name eth0 netns {name}; ip link set {link} up"
    ));
    sh(&format!("ip addr add 192.0.2.1/24 dev {link}"));
    sh(&format!("ip addr add 2001:db8:9::1/64 dev {link} nodad"));
    for command in [
        "ip link set lo up".to_owned(),
        "ip link set eth0 up".to_owned(),
        format!("ip addr add 192.0.2.{addr}/24 dev eth0"),
        format!("ip addr add 2001:db8:9::{addr}/64 dev eth0 nodad"),
    ] {
        other.sh(&command);
    }
    other
}

/// A pod with addresses of both families, and the call of `portmap` that follows.
pub(crate) struct Mapped {
    pub(crate) pod: Pod,
    pub(crate) bridge: Call,
    pub(crate) call: Call,
}

/// Attaches a pod and maps ports to it.
pub(crate) fn mapped(host: &Host, mappings: &Value) -> Mapped {
    let attached = attached(host, mappings);
    attached.call.add();
    attached
}

/// Attaches a pod whose ports are still to be mapped.
pub(crate) fn attached(host: &Host, mappings: &Value) -> Mapped {
    sh("ip link set lo up; sysctl -qw net.ipv6.conf.default.accept_dad=0");
    let pod = Pod::new();
    let mut conf = host.bridge_conf("1.1.0", &["10.1.2.0/24", "fd00:1:2::/64"]);
    conf["hairpinMode"] = json!(true);
    let bridge = host.call("bridge", conf, &pod);
    let result = bridge.add();
    let conf = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "portmap", "stateDir": host.path("run"),
        "runtimeConfig": {"portMappings": mappings},
    });
    let call = host.call("portmap", conf, &pod).after(&result);
    Mapped { pod, bridge, call }
}

/// A mapping as a runtime writes it.
pub(crate) fn mapping(protocol: &str, host_ip: &str, host_port: u16, port: u16) -> Value {
    json!({"hostPort": host_port, "containerPort": port, "protocol": protocol, "hostIP": host_ip})
}
