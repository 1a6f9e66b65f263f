//! Connections of the servers, within limits: anybody who reaches the port may make them, and what they take must not be
//! missing where the store is read and the kernel is programmed. HTTP/1 alone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tweed_connectivity::{Busy, Connections};
use tweed_host::bounded_file::KIB;

use super::visitor::{Origin, Visitor};
use crate::daemon::turns::Turns;

/// Open connections of one server.
const CONNECTIONS: usize = 64;
/// The part of the process's descriptors that one server's connections may take: the rest is for the store, the kernel
/// and the data plane.
const SHARE: u64 = 8;
/// How long a request's header may take, and how long a connection may say nothing between two requests.
const QUIET: Duration = Duration::from_secs(15);
/// A request's header, at most.
const HEADER: usize = 16 * KIB;
/// After the end of its lifetime a connection may finish what it is at.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// What one connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// When it is older, it is closed after the answer it is at.
    pub(super) lifetime: Duration,
    /// After so many answers it is closed.
    pub(super) requests: usize,
}

/// Serves until dropped.
pub(super) async fn serve(
    mut listener: impl Listener<Addr: Origin>,
    router: Router,
    limits: Option<Limits>,
    turns: Turns,
) {
    let mut open = Connections::new(connections());
    loop {
        // Waits a second where there are no descriptors.
        let (stream, from) = listener.accept().await;
        open.make_room();
        let busy = Busy::default();
        let router = router.clone();
        let task = connection(stream, from.visitor(), router, busy.clone(), limits);
        let turns = turns.clone();
        let task = tokio::spawn(async move { turns.measure(task).await }).abort_handle();
        open.add(task, busy);
        // What was closed to make room is closed now.
        yield_now().await;
    }
}

fn connections() -> usize {
    let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let share = usize::try_from(descriptors / SHARE).unwrap_or(CONNECTIONS);
    share.clamp(1, CONNECTIONS)
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    visitor: Visitor,
    router: Router,
    busy: Busy,
    limits: Option<Limits>,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(QUIET)
        .max_buf_size(HEADER);
    let answered = AtomicUsize::new(1);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(visitor);
        let number = answered.fetch_add(1, Ordering::Relaxed);
        let last = limits.is_some_and(|limits| number >= limits.requests);
        answer(router.clone(), request, busy.clone(), last)
    });
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let over = async {
        match limits {
            Some(limits) => sleep(limits.lifetime).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // How a connection ends is its client's affair.
        _ = serving.as_mut() => return,
        () = over => serving.as_mut().graceful_shutdown(),
    }
    let _ = timeout(LAST_ANSWER, serving).await;
}

/// Answers one request; a turn of the runtime has one answer of each connection.
async fn answer(
    router: Router,
    request: Request<Incoming>,
    busy: Busy,
    last: bool,
) -> Result<Response<axum::body::Body>, std::convert::Infallible> {
    busy.set(true);
    yield_now().await;
    let mut answer = TowerToHyperService::new(router).call(request).await;
    busy.set(false);
    if last && let Ok(answer) = &mut answer {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::*;

    async fn server(lifetime: Option<Duration>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("its address");
        let router = Router::new().route("/", get(async || "well"));
        let limits = lifetime.map(|lifetime| Limits {
            lifetime,
            requests: 3,
        });
        let turns = Turns::of_this_thread();
        tokio::spawn(serve(listener, router, limits, turns));
        addr
    }

    async fn connected(addr: SocketAddr) -> TcpStream {
        TcpStream::connect(addr).await.expect("connected")
    }

    /// All that comes until the end.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut all = Vec::new();
        // A connection that is cut off may end in an error; what came before counts.
        let _ = stream.read_to_end(&mut all).await;
        String::from_utf8_lossy(&all).into_owned()
    }

    async fn asked(stream: &mut TcpStream, words: &str) -> String {
        let asked = stream.write_all(words.as_bytes()).await;
        asked.expect("written");
        rest(stream).await
    }

    const ONCE: &str = "GET / HTTP/1.0\r\n\r\n";

    #[tokio::test]
    async fn a_newcomer_gets_in_whatever_is_held_open() {
        let addr = server(None).await;
        let mut idle = Vec::new();
        for _ in 0..200 {
            idle.push(connected(addr).await);
        }
        let mut newcomer = connected(addr).await;
        assert!(asked(&mut newcomer, ONCE).await.ends_with("well"));
        // The oldest were closed for it, the latest are open.
        assert_eq!(rest(&mut idle[0]).await, "");
        assert!(asked(&mut idle[199], ONCE).await.ends_with("well"));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_before_and_between_requests_ends_a_connection() {
        let addr = server(None).await;
        let mut half = connected(addr).await;
        let start = Instant::now();
        asked(&mut half, "GET / HTTP/1.1\r\nHost: ").await;
        let waited = start.elapsed();
        assert!(waited >= QUIET && waited < 2 * QUIET, "{waited:?}");
        let mut kept = connected(addr).await;
        let start = Instant::now();
        let answer = asked(&mut kept, "GET / HTTP/1.1\r\nHost: tweedd\r\n\r\n").await;
        assert!(answer.contains("well"), "{answer}");
        let waited = start.elapsed();
        assert!(waited >= QUIET && waited < 2 * QUIET, "{waited:?}");
    }

    #[tokio::test]
    async fn a_connection_has_a_lifetime() {
        let addr = server(Some(Duration::from_millis(50))).await;
        let mut kept = connected(addr).await;
        let start = Instant::now();
        let answer = asked(&mut kept, "GET / HTTP/1.1\r\nHost: tweedd\r\n\r\n").await;
        assert!(answer.contains("well"), "{answer}");
        assert!(start.elapsed() < QUIET);
    }

    #[tokio::test]
    async fn a_connection_has_so_many_answers() {
        let addr = server(Some(QUIET)).await;
        let mut greedy = connected(addr).await;
        let start = Instant::now();
        let request = "GET / HTTP/1.1\r\nHost: tweedd\r\n\r\n";
        let answers = asked(&mut greedy, &request.repeat(10)).await;
        assert_eq!(answers.matches("well").count(), 3, "{answers}");
        assert!(start.elapsed() < QUIET);
    }

    #[tokio::test]
    async fn other_protocols_and_long_headers_are_refused() {
        let addr = server(None).await;
        let mut http2 = connected(addr).await;
        let answer = asked(&mut http2, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        assert!(
            answer.is_empty()
                || answer.starts_with("HTTP/1.1 4")
                || answer.starts_with("HTTP/1.1 5"),
            "{answer:?}"
        );
        let mut long = connected(addr).await;
        let header = format!("GET / HTTP/1.1\r\nHost: {}", "x".repeat(2 * HEADER));
        let answer = asked(&mut long, &header).await;
        assert!(!answer.contains("well"), "{answer:?}");
    }
}
