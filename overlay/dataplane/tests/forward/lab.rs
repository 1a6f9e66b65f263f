//! Two nodes on a wire, each in a namespace of its own, with a pod's addresses and a worker.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tweed_dataplane::socket::{Port, Socket};
use tweed_dataplane::tun::Tun;
use tweed_dataplane::worker::{Setup, SharedTrials, Worker};
use tweed_forward::counters::Counters;
use tweed_forward::options::ForwardOptions;
use tweed_forward::table::{Peer, Table};
use tweed_model::{Dual, Family};
use tweed_netlink::lab::{Namespace, run};
use tweed_netlink::netns::Netns;

/// flannel's port and device.
pub(crate) const PORT: u16 = 8285;
pub(crate) const DEVICE: &str = "flannel0";
/// How long anything may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What of the underlay the nodes use.
#[derive(Clone, Copy)]
pub(crate) enum Underlay {
    V4,
    V6,
    /// Each family of the pods by its own.
    Both,
}

impl Underlay {
    fn families(self) -> &'static [Family] {
        match self {
            Self::V4 => &[Family::V4],
            Self::V6 => &[Family::V6],
            Self::Both => &Family::BOTH,
        }
    }
}

pub(crate) struct Node {
    /// 1 or 2.
    number: u16,
    namespace: Namespace,
    underlay: Underlay,
    pub(crate) netns: Netns,
    /// How many workers, and how they work.
    count: u8,
    options: ForwardOptions,
    exchange: Exchange,
    pub(crate) workers: Vec<Worker>,
}

/// What happens to a worker's socket before it works with it.
pub(crate) type Exchange = fn(&Socket, SocketAddr);

impl Drop for Node {
    fn drop(&mut self) {
        // Before its namespace goes.
        self.workers.clear();
    }
}

/// Two nodes whose pods reach each other.
pub(crate) fn nodes(underlay: Underlay) -> [Node; 2] {
    nodes_with(underlay, 1, ForwardOptions::default())
}

/// Two nodes with so many workers each, that work like this.
pub(crate) fn nodes_with(underlay: Underlay, count: u8, options: ForwardOptions) -> [Node; 2] {
    nodes_on(underlay, count, options, |_, _| {})
}

/// Two nodes with such workers, on sockets that were exchanged.
pub(crate) fn nodes_on(
    underlay: Underlay,
    count: u8,
    options: ForwardOptions,
    exchange: Exchange,
) -> [Node; 2] {
    let node = |number: u16| {
        let namespace = Namespace::new("forward");
        Node {
            number,
            underlay,
            netns: namespace.netns(),
            namespace,
            count,
            options,
            exchange,
            workers: Vec::new(),
        }
    };
    let mut nodes = [node(1), node(2)];
    let [one, two] = [0, 1].map(|index: usize| nodes[index].namespace.name());
    run(&format!(
        "ip link add eth0 netns {one} type veth peer name eth0 netns {two}"
    ));
    for node in &mut nodes {
        node.join_wire();
    }
    for node in &mut nodes {
        node.start(1472);
    }
    nodes
}

impl Node {
    fn join_wire(&self) {
        let n = self.number;
        self.sh(&format!(
            "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0
             ip link set lo up
             ip addr add 192.0.2.{n}/24 dev eth0
             ip addr add 2001:db8::{n}/64 dev eth0 nodad
             ip link set eth0 up
             ip addr add 10.42.{n}.5/32 dev lo
             ip addr add fd00:42:0:{n}::5/128 dev lo nodad"
        ));
    }

    /// Starts the workers and makes the device what the agent would make it.
    pub(crate) fn start(&mut self, mtu: u16) {
        let table = Arc::new(self.table(mtu));
        let trials = Arc::new(SharedTrials::default());
        let workers = (0..self.count).map(|number| self.worker_of(number, &table, &trials));
        self.workers = workers.collect();
        let n = self.number;
        self.sh(&format!(
            "sysctl -qw net.ipv4.conf.{DEVICE}.accept_local=1
             ip addr add 10.42.{n}.0/32 dev {DEVICE}
             ip addr add fd00:42:0:{n}::/128 dev {DEVICE} nodad
             ip link set {DEVICE} mtu 1452 up
             ip route add 10.42.0.0/16 dev {DEVICE} src 10.42.{n}.5
             ip route add fd00:42::/32 dev {DEVICE} src fd00:42:0:{n}::5"
        ));
    }

    fn worker_of(&self, number: u8, table: &Arc<Table>, trials: &Arc<SharedTrials>) -> Worker {
        let any = |family: &Family| match family {
            Family::V4 => SocketAddr::from(([0, 0, 0, 0], PORT)),
            Family::V6 => SocketAddr::from(([0u16; 8], PORT)),
        };
        let of = self.count;
        let port = match of {
            1 => Port::Alone,
            _ => Port::Shared { number, of },
        };
        let start = || {
            let mut sockets = Dual::default();
            for family in self.underlay.families() {
                let socket = Socket::bind(any(family), port).unwrap();
                (self.exchange)(&socket, any(family));
                sockets.set(*family, Some(socket));
            }
            let tun = match self.count {
                1 => Tun::open(DEVICE).unwrap(),
                _ => Tun::open_queue(DEVICE).unwrap(),
            };
            let (table, options) = (Arc::clone(table), self.options);
            let setup = Setup {
                tun,
                sockets,
                table,
                options,
                trials: Arc::clone(trials),
            };
            Worker::start(setup).unwrap()
        };
        self.netns.run(start).unwrap()
    }

    /// Ends the workers, and the device with them.
    pub(crate) fn stop(&mut self) {
        self.workers.clear();
        let start = Instant::now();
        // A process that another test starts at this moment has the device open for a moment too.
        while self.tries(&format!("ip link show {DEVICE}")).0 {
            assert!(start.elapsed() < TIMEOUT, "the device stays");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What this node forwards by, with the path to the other one of an MTU.
    pub(crate) fn table(&self, mtu: u16) -> Table {
        let nets = |n: u16| {
            let v4 = format!("10.42.{n}.0/24").parse().unwrap();
            let v6 = format!("fd00:42:0:{n}::/64").parse().unwrap();
            Dual::of_nets([v4, v6])
        };
        let other = 3 - self.number;
        let v4: IpAddr = format!("192.0.2.{other}").parse().unwrap();
        let v6: IpAddr = format!("2001:db8::{other}").parse().unwrap();
        let peer = |endpoint: IpAddr, subnets| Peer {
            endpoint: (endpoint, PORT).into(),
            addresses: Dual::of_addrs([v4, v6]),
            subnets,
            mtu,
        };
        let all = nets(other);
        let peers = match self.underlay {
            Underlay::V4 => vec![peer(v4, all)],
            Underlay::V6 => vec![peer(v6, all)],
            Underlay::Both => {
                let of = |family| Dual::of_nets(all.get(family).copied());
                vec![peer(v4, of(Family::V4)), peer(v6, of(Family::V6))]
            }
        };
        Table::new(nets(self.number), peers)
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.workers[0]
    }

    pub(crate) fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// The pod's address of the family of `like`.
    pub(crate) fn pod(&self, v6: bool) -> IpAddr {
        let n = self.number;
        let addr = if v6 {
            format!("fd00:42:0:{n}::5")
        } else {
            format!("10.42.{n}.5")
        };
        addr.parse().unwrap()
    }

    /// Runs a shell command inside; panics with what it says if it fails.
    pub(crate) fn sh(&self, command: &str) -> String {
        self.namespace.sh(command)
    }

    /// Whether a shell command inside succeeds, and all that it prints.
    pub(crate) fn tries(&self, command: &str) -> (bool, String) {
        self.namespace.tries(command)
    }

    /// Waits until the counters are as wanted.
    pub(crate) fn counts(&self, what: &str, wanted: impl Fn(&Counters) -> bool) {
        let start = Instant::now();
        while !wanted(&self.worker().counters()) {
            let counters = self.worker().counters();
            assert!(start.elapsed() < TIMEOUT, "{what}: {counters:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn udp(&self, addr: impl Into<SocketAddr> + Send) -> UdpSocket {
        let socket = self
            .netns
            .run(|| UdpSocket::bind(addr.into()).unwrap())
            .unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        socket
    }
}

/// Sends bytes over TCP from one pod to the other and checks what comes.
pub(crate) fn transfer(from: &Node, to: &Node, v6: bool, port: u16, len: usize) {
    let addr = SocketAddr::new(to.pod(v6), port);
    let listener = to.netns.run(|| TcpListener::bind(addr).unwrap()).unwrap();
    let byte = |n: usize| (n * 31 + n / 997) as u8;
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            let mut came = Vec::with_capacity(len);
            stream.read_to_end(&mut came).unwrap();
            came
        });
        let connect = || TcpStream::connect_timeout(&addr, TIMEOUT).unwrap();
        let mut stream = from.netns.run(connect).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        let bytes: Vec<u8> = (0..len).map(byte).collect();
        stream.write_all(&bytes).unwrap();
        drop(stream);
        assert!(receiver.join().unwrap() == bytes, "other bytes came");
    });
}
