//! What limits of bandwidth do to streams.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use super::chained::behind_bridge;
use super::lab::on_host;
use super::traffic::At;

/// Payload in bits a second that a stream carries, from `skip` on for the time given.
fn rate(from: At<'_>, to: At<'_>, addr: &str, skip: Duration, time: Duration) -> f64 {
    let listener = to.open(|| TcpListener::bind((addr, 0)).unwrap());
    let there = listener.local_addr().unwrap();
    let mut sender = from.open(|| TcpStream::connect(there).unwrap());
    let (mut receiver, _) = listener.accept().unwrap();
    let pump = std::thread::spawn(move || {
        let bytes = vec![0; 64 * 1024];
        while sender.write_all(&bytes).is_ok() {}
    });
    let since = Instant::now();
    let (mut buffer, mut seen) = (vec![0; 64 * 1024], 0);
    while since.elapsed() < skip + time {
        let length = receiver.read(&mut buffer).unwrap();
        if since.elapsed() >= skip {
            seen += length;
        }
    }
    drop(receiver);
    pump.join().unwrap();
    seen as f64 * 8.0 / time.as_secs_f64()
}

/// A loaded machine makes a stream slower now and then: one of three times must be near.
fn assert_near(wanted: f64, what: &str, measure: impl Fn() -> f64) {
    let parts = [(); 3].map(|()| measure() / wanted);
    let is_near = |part: &f64| (0.85..1.15).contains(part);
    assert!(parts.iter().any(is_near), "{what}: {parts:.2?} of the rate");
    assert!(parts.iter().all(|part| *part < 1.15), "{what}: {parts:.2?}");
}

#[test]
fn streams_run_at_the_rates_both_ways() {
    on_host(|host| {
        let keys = json!({"runtimeConfig": {"bandwidth": {
            "ingressRate": 40_000_000, "ingressBurst": 400_000,
            "egressRate": 20_000_000, "egressBurst": 400_000,
        }}});
        let chained = behind_bridge(host, "bandwidth", &keys);
        let pod = At::Pod(&chained.pod);
        let (skip, time) = (Duration::from_millis(300), Duration::from_millis(1000));
        let address = &chained.call.conf()["prevResult"]["ips"][0]["address"];
        let address = address.as_str().unwrap().split('/').next().unwrap();
        chained.call.add();
        assert_near(40e6, "to the container", || {
            rate(At::Host, pod, address, skip, time)
        });
        assert_near(20e6, "from the container", || {
            rate(pod, At::Host, "10.1.2.1", skip, time)
        });
        chained.call.ok("DEL");
        assert!(rate(At::Host, pod, address, skip, skip) > 80e6, "after DEL");

        // What runtimes hand over as burst where nobody has asked for one.
        let burst = i32::MAX;
        let keys = json!({"bandwidth": {
            "ingressRate": 40_000_000, "ingressBurst": burst,
            "egressRate": 20_000_000, "egressBurst": burst,
        }});
        chained.call.set("runtimeConfig", keys).add();
        let second = Duration::from_secs(1);
        let first = rate(At::Host, pod, address, Duration::ZERO, second);
        assert!(first < 40e6 * 1.25, "the first second: {first:.0} bit/s");
        let first = rate(pod, At::Host, "10.1.2.1", Duration::ZERO, second);
        assert!(first < 20e6 * 1.25, "the first second: {first:.0} bit/s");
    });
}
