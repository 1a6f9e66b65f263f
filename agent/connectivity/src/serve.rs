//! The responder.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connections::{Busy, Connections};
use super::key::Key;
use super::probe::{self, Prober, ROUND};
use super::protocol::{Answer, Ask, Hello};
use super::udp::{self, Arrivals};
use super::wire;

/// Connections at once.
const CONNECTIONS: usize = 256;
/// For a question that is answered at once.
const SHORT: Duration = Duration::from_secs(10);

/// How a responder is set up.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The addresses on which it answers, and no others: an answer must come from the address that was asked.
    pub addresses: Vec<IpAddr>,
    /// The port, for TCP and UDP.
    pub port: u16,
    /// By which name it introduces itself.
    pub name: String,
    /// What all responders share.
    pub key: Key,
}

struct Responder {
    name: String,
    prober: Arc<Prober>,
    arrivals: Arrivals,
    connections: Mutex<Connections>,
    /// One test at a time, so that tests don't disturb each other's.
    rounds: Semaphore,
}

/// Answers until the future is dropped.
///
/// # Errors
/// If an address can't be bound.
pub async fn serve(options: ServeOptions) -> Result<()> {
    ensure!(
        !options.addresses.is_empty(),
        "no address to answer on: give --address"
    );
    let responder = Arc::new(Responder {
        name: options.name,
        prober: Arc::new(Prober {
            key: options.key,
            port: options.port,
        }),
        arrivals: Arrivals::default(),
        connections: Mutex::new(Connections::new(CONNECTIONS)),
        rounds: Semaphore::new(1),
    });
    let mut tasks = JoinSet::new();
    for addr in options.addresses {
        let addr = SocketAddr::new(addr, options.port);
        let what = || format!("answer on {addr} (--address, --port)");
        let listener = TcpListener::bind(addr).await.with_context(what)?;
        let socket = UdpSocket::bind(addr).await.with_context(what)?;
        tasks.spawn(accept(Arc::clone(&responder), listener));
        let responder = Arc::clone(&responder);
        tasks.spawn(async move {
            udp::answer_all(&socket, &responder.prober.key, &responder.arrivals).await;
        });
    }
    tasks.join_all().await;
    Ok(())
}

async fn accept(responder: Arc<Responder>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => Responder::begin(&responder, stream, from),
            // Too many open files, most likely: they get fewer.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

impl Responder {
    fn begin(responder: &Arc<Self>, stream: TcpStream, from: SocketAddr) {
        let connections = &responder.connections;
        let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.make_room();
        let busy = Busy::default();
        let (responder, asked) = (Arc::clone(responder), busy.clone());
        let task = tokio::spawn(async move {
            // The asking side gets the error.
            let _ = responder.converse(stream, from, &asked).await;
        });
        connections.add(task.abort_handle(), busy);
    }

    async fn converse(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        busy: &Busy,
    ) -> std::io::Result<()> {
        let own = stream.local_addr()?.ip();
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let asked = timeout(SHORT, wire::read_ask(&mut stream, &self.prober.key)).await??;
        let Some(ask) = asked else {
            return Ok(());
        };
        busy.set(true);
        let answer = match ask {
            Ask::Swallow(bytes) => {
                Answer::Swallowed(timeout(SHORT, wire::swallow(&mut stream, bytes)).await??)
            }
            // A test that was given up must not keep the next one waiting.
            ask => tokio::select! {
                answer = self.answer(ask, own, from.ip()) => answer,
                () = wire::hung_up(&mut stream) => return Ok(()),
            },
        };
        wire::write(stream.get_mut(), &answer).await
    }

    async fn answer(&self, ask: Ask, own: IpAddr, from: IpAddr) -> Answer {
        match ask {
            Ask::Hello => Answer::Hello(Hello {
                name: self.name.clone(),
                source: from,
                mtu: probe::mtus().get(&own).copied(),
            }),
            Ask::Arrivals(run) => Answer::Arrivals(self.arrivals.of(run)),
            Ask::Probe(round) => {
                let _turn = self.rounds.acquire().await;
                Answer::Probed(Arc::clone(&self.prober).round(round).await)
            }
            Ask::Relay(to, ask) => self.relay(to, &ask).await,
            Ask::Swallow(_) => Answer::Refused("nothing follows".to_owned()),
        }
    }

    /// Passes a question on. Not one that would be passed on again: nobody is to send questions round and round.
    async fn relay(&self, to: IpAddr, ask: &Ask) -> Answer {
        if matches!(ask, Ask::Relay(..) | Ask::Swallow(_)) {
            return Answer::Refused("such a question isn't passed on".to_owned());
        }
        let to = SocketAddr::new(to, self.prober.port);
        match wire::ask(to, &self.prober.key, ask, ROUND).await {
            Ok(answered) => answered.answer,
            Err(error) => Answer::Refused(format!("{to} can't be asked: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_connections_of_strangers_keep_no_test_out() {
        let key = Key::of(b"what all responders share");
        let addr = std::net::TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr());
        let addr = addr.expect("a free port");
        let options = ServeOptions {
            addresses: vec![addr.ip()],
            port: addr.port(),
            name: "h1".to_owned(),
            key: key.clone(),
        };
        tokio::spawn(serve(options));
        let mut idle = Vec::new();
        while idle.len() < CONNECTIONS + 50 {
            match TcpStream::connect(addr).await {
                Ok(stream) => idle.push(stream),
                // The responder is about to begin.
                Err(_) => tokio::task::yield_now().await,
            }
        }
        let answered = wire::ask(addr, &key, &Ask::Hello, Duration::from_secs(5)).await;
        let answer = answered.expect("answered").answer;
        assert!(matches!(answer, Answer::Hello(_)), "{answer:?}");
    }
}
