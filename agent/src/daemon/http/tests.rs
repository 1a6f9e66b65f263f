//! Against strangers who ask for more than anybody needs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use super::*;
use crate::config::flags::Flags;
use crate::config::settings::Settings;
use crate::daemon::facts::Facts;
use crate::daemon::status::RefusedLease;

/// As many connections as there may be, each with requests that never end.
const FLOOD: usize = 64;
const PIPELINE: usize = 20;

fn options() -> Options {
    let values = [("store", "file"), ("store-dir", "/nowhere")];
    let flags = values.map(|(name, value)| (name, vec![value.to_owned()]));
    let flags = Flags(flags.into());
    Options::read(&Settings::new(&flags, &|_| None)).expect("options")
}

/// A server in a thread of its own, as long as the process runs, with much to tell.
fn server() -> SocketAddr {
    let (tell, addr) = channel();
    thread::spawn(move || {
        let options = options();
        let mut facts = Facts::of(&options, Vec::new());
        facts.cluster.refused = (0..200)
            .map(|number| RefusedLease {
                lease: format!("10.244.{number}.0-24"),
                reason: "it is no peer".to_owned(),
                kind: "overlap".to_owned(),
            })
            .collect();
        let server = Server::new(
            SharedFacts::new(facts),
            DataPlane::default(),
            (channel().0, Turns::of_this_thread()),
            &options,
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("an address"))
                .expect("the test waits");
            let turns = server.turns.clone();
            serve::serve(listener, server.public(), Some(LIMITS), turns).await;
        });
    });
    addr.recv().expect("an address")
}

fn flood(addr: SocketAddr, over: &AtomicBool) {
    let requests = "GET /metrics HTTP/1.1\r\nHost: tweedd\r\n\r\n".repeat(PIPELINE);
    let mut buffer = vec![0; 1 << 20];
    while !over.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(addr) else {
            continue;
        };
        // A client that only asks and doesn't read gets no more answers.
        let soon = Some(Duration::from_millis(100));
        stream.set_write_timeout(soon).expect("a timeout");
        stream.set_read_timeout(soon).expect("a timeout");
        while !over.load(Ordering::Relaxed) {
            let asked = stream.write_all(requests.as_bytes());
            let read = asked.and_then(|()| stream.read(&mut buffer));
            if matches!(read, Err(_) | Ok(0)) {
                break;
            }
        }
    }
}

/// The end of the flood.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_flood_of_metrics_keeps_no_health_check_waiting() {
    let addr = server();
    let over = AtomicBool::new(false);
    let worst = thread::scope(|scope| {
        for _ in 0..FLOOD {
            scope.spawn(|| flood(addr, &over));
        }
        // Also when a check fails: the scope waits for all.
        let _end = End(&over);
        thread::sleep(Duration::from_millis(300));
        let waited = (0..10).map(|_| {
            let asked = Instant::now();
            let mut stream = TcpStream::connect(addr).expect("connected");
            stream
                .write_all(b"GET /healthz HTTP/1.0\r\n\r\n")
                .expect("asked");
            let mut answer = String::new();
            let read = stream.read_to_string(&mut answer);
            assert!(answer.ends_with("is running"), "{read:?} {answer}");
            asked.elapsed()
        });
        waited.max().unwrap_or_default()
    });
    // As long as kubelet waits.
    assert!(worst < Duration::from_secs(1), "{worst:?}");
}

async fn text(server: &Server) -> Bytes {
    let texts = server.metrics_texts().await;
    texts.expect("rendered").get(Form::Open)
}

#[tokio::test]
async fn all_who_ask_within_a_moment_get_one_text() {
    let options = options();
    let facts = SharedFacts::new(Facts::of(&options, Vec::new()));
    let threads = (channel().0, Turns::of_this_thread());
    let server = Server::new(facts.clone(), DataPlane::default(), threads, &options);
    let first = text(&server).await;
    facts.lock().cluster.peers = 7;
    let second = text(&server).await;
    assert_eq!(first.as_ptr(), second.as_ptr());
    tokio::time::sleep(FRESH).await;
    let third = text(&server).await;
    let third = String::from_utf8_lossy(&third);
    assert!(third.contains("\ntweed_peers 7\n"), "{third}");
}
