//! What a responder does when it is told to probe others.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tweed_host::bounded_file::{self, KIB, Links};
use tweed_host::random;
use tweed_model::Family;
use tweed_netlink::Netlink;

use super::dns::{self, ResolvConf};
use super::key::Key;
use super::protocol::{Answer, Ask, Connected, Names, Observations, Pair, Round, Service, Target};
use super::udp::Line;
use super::wire;

/// How long a responder probes. One address takes up to a quarter of a minute where large packets are lost, and half of
/// that where all are.
pub const ROUND: Duration = Duration::from_secs(150);
/// How many addresses are probed at once.
const AT_ONCE: usize = 8;
/// For a question that takes no time.
const ANSWER: Duration = Duration::from_secs(4);
/// What is sent to see whether full packets pass, and how long it may take: 2 Mbit/s.
const TRANSFER: (u32, Duration) = (1 << 20, Duration::from_secs(5));
/// Bytes of the largest packet there is.
const LARGEST: u32 = u16::MAX as u32;
/// How often a service is asked: each time another responder may be the one to answer.
const SERVICE_TRIES: u32 = 3;
/// How long a service may turn us away at first, and how often it is asked meanwhile: a node that has much to do learns
/// seconds after the API server that responders are ready. A question that gets no answer at all isn't asked again.
const SERVICE_NEW: (Duration, Duration) = (Duration::from_secs(15), Duration::from_millis(500));
/// How often a resolver is asked, and how long each time.
const RESOLVER: (u32, Duration) = (2, Duration::from_millis(1500));

/// What probes need.
#[derive(Debug)]
pub struct Prober {
    /// What all responders share.
    pub key: Key,
    /// Their port.
    pub port: u16,
}

impl Prober {
    /// Probes all that the round names, as far as there is time.
    pub async fn round(self: Arc<Self>, round: Round) -> Observations {
        let round = Arc::new(round);
        let (pairs, services, names) = tokio::join!(
            self.pairs(&round),
            self.services(&round.services),
            resolve(round.name.as_deref(), &round.services)
        );
        Observations {
            left: round.targets.len() - pairs.len(),
            pairs,
            services,
            names,
        }
    }

    async fn pairs(self: &Arc<Self>, round: &Arc<Round>) -> Vec<Pair> {
        let mtus = Arc::new(mtus());
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for target in round.targets.clone() {
            let (prober, round) = (Arc::clone(self), Arc::clone(round));
            let (mtus, turns) = (Arc::clone(&mtus), Arc::clone(&turns));
            tasks.spawn(async move {
                let _turn = turns.acquire().await;
                prober.pair(&round, &target, &mtus).await
            });
        }
        let end = Instant::now() + ROUND;
        let mut pairs = Vec::new();
        while let Ok(Some(pair)) = timeout_at(end, tasks.join_next()).await {
            pairs.extend(pair);
        }
        pairs.sort_by_key(|pair| (pair.to, pair.addr));
        pairs
    }

    async fn services(&self, addrs: &[IpAddr]) -> Vec<Service> {
        let mut services = Vec::new();
        for addr in addrs {
            services.push(self.service(*addr).await);
        }
        services
    }

    async fn pair(&self, round: &Round, target: &Target, mtus: &BTreeMap<IpAddr, u32>) -> Pair {
        let to = SocketAddr::new(target.addr, self.port);
        let (tcp, far_mtu) = match self.connect(to).await {
            Ok((connected, far_mtu)) => (Ok(connected), far_mtu),
            Err(error) => (Err(error.to_string()), None),
        };
        let mut pair = Pair {
            to: target.to,
            addr: target.addr,
            tcp,
            udp: Ok(()),
            big: None,
            transfer: None,
        };
        match Line::open(to, &self.key, round.run, round.from).await {
            Err(error) => pair.udp = Err(error.to_string()),
            Ok(line) => {
                pair.udp = line.small().await;
                let near_mtu = line.own().and_then(|own| mtus.get(&own).copied());
                let near_mtu = near_mtu.or_else(|| line.path_mtu());
                if let (Ok(()), Some(near)) = (&pair.udp, near_mtu) {
                    let size = near.min(far_mtu.unwrap_or(near)).min(LARGEST);
                    pair.big = Some(line.big(size).await);
                }
            }
        }
        if target.transfer && pair.tcp.is_ok() {
            let (bytes, limit) = TRANSFER;
            let sent = wire::transfer(to, &self.key, bytes, limit).await;
            pair.transfer = Some(sent.map_err(|error| error.to_string()));
        }
        pair
    }

    /// Connects, and asks who is there; and tells the MTU at the far end.
    async fn connect(&self, to: SocketAddr) -> io::Result<(Connected, Option<u32>)> {
        let answered = wire::ask(to, &self.key, &Ask::Hello, ANSWER).await?;
        let Answer::Hello(hello) = answered.answer else {
            return Err(wire::unexpected(&answered.answer));
        };
        let connected = Connected {
            name: hello.name,
            own: answered.own,
            seen: hello.source,
            micros: u64::try_from(answered.connected.as_micros()).unwrap_or(u64::MAX),
        };
        Ok((connected, hello.mtu))
    }

    /// Asks the service several times; every time must work, once it is known here.
    async fn service(&self, addr: IpAddr) -> Service {
        let to = SocketAddr::new(addr, self.port);
        let (limit, pause) = SERVICE_NEW;
        let end = Instant::now() + limit;
        let mut answered = 0;
        let answer = loop {
            match self.connect(to).await {
                Ok((connected, _)) => {
                    answered += 1;
                    if answered == SERVICE_TRIES {
                        break Ok(connected.name);
                    }
                }
                Err(error) if answered == 0 && turned_away(&error) && Instant::now() < end => {
                    sleep(pause).await;
                }
                Err(error) => break Err(error.to_string()),
            }
        };
        Service { addr, answer }
    }
}

/// Whether this is what a service says that has nobody behind it yet, or an address to which no rule leads yet.
fn turned_away(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}

/// The MTUs of this place's interfaces by their addresses; empty if the kernel doesn't tell. Not the loopback device's:
/// packets of hosts that keep their address there leave by another.
pub fn mtus() -> BTreeMap<IpAddr, u32> {
    let read = || -> Option<BTreeMap<IpAddr, u32>> {
        let mut netlink = Netlink::open().ok()?;
        let links = netlink.links().ok()?;
        let links = links.iter().filter(|link| link.name != "lo");
        let mtus: BTreeMap<_, _> = links.map(|link| (link.index, link.mtu)).collect();
        let addrs = netlink.addrs(None).ok()?.into_iter();
        Some(
            addrs
                .filter_map(|addr| Some((addr.net.addr(), *mtus.get(&addr.index)?)))
                .collect(),
        )
    };
    read().unwrap_or_default()
}

/// Asks every resolver of this place for the addresses of a service, in the family of the first of them.
async fn resolve(name: Option<&str>, expected: &[IpAddr]) -> Option<Names> {
    let conf = Path::new("/etc/resolv.conf");
    let text = bounded_file::read_text(conf, Links::Followed, 64 * KIB).unwrap_or_default();
    let conf = ResolvConf::parse(&text);
    let name = conf.service(name?);
    let family = expected.first().map_or(Family::V4, Family::of);
    let mut resolvers = Vec::new();
    for server in &conf.servers {
        resolvers.push((*server, look_up(*server, &name, family).await));
    }
    Some(Names { name, resolvers })
}

async fn look_up(server: IpAddr, name: &str, family: Family) -> Result<Vec<IpAddr>, String> {
    let id = (random::bits() & 0xffff) as u16;
    let query = dns::query(id, name, family).ok_or("the name can't be asked for")?;
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut reason = "no answer".to_owned();
    let (tries, wait) = RESOLVER;
    for _ in 0..tries {
        let exchange = async {
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect((server, 53)).await?;
            socket.send(&query).await?;
            let mut buffer = [0; 1500];
            loop {
                let size = socket.recv(&mut buffer).await?;
                if let Some(answer) = dns::answer(id, &buffer[..size]) {
                    return io::Result::Ok(answer);
                }
            }
        };
        match timeout(wait, exchange).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => reason = error.to_string(),
            Err(_) => {}
        }
    }
    Err(reason)
}
