//! Two hundred containers that come and go at once in several networks, with kills in between, beside a model of who holds
//! which address and which port of the host. What each container does follows from a seed; what comes first is left to the
//! processor.

mod container;
mod held;
mod network;
mod state;

use std::sync::Barrier;
use std::thread;

use tweed_fuzz::Source;

use self::container::{Container, Stage};
use self::held::Held;
use self::network::{Network, one_by_one};
use super::chained::files;
use super::lab::{Host, on_host};

/// So many containers at once, and so many things done to each.
const CONTAINERS: usize = 200;
const STEPS: usize = 4;

/// Plays a schedule, removes with GC what the kills have left, and compares what there is with the model; then removes
/// everything, and nothing is left.
fn play(host: &Host, networks: &[Network], seed: u64) {
    println!("MODEL_SEED={seed}");
    let before = state::of(host, networks);
    let mut containers: Vec<Container<'_>> = (0..CONTAINERS)
        .map(|number| Container::new(networks, number))
        .collect();
    let names = containers.iter().map(|it| it.pod.name().to_owned());
    let held = Held::by(names.collect());
    let start = Barrier::new(CONTAINERS);
    thread::scope(|scope| {
        for container in &mut containers {
            let (held, start) = (&held, &start);
            scope.spawn(move || {
                let mut source = Source::new(seed * 1_000_003 + container.number as u64);
                start.wait();
                for _ in 0..STEPS {
                    container.step(&mut source, held);
                }
            });
        }
    });
    collect(networks, &containers);
    state::compare(host, networks, &containers);
    let mut left = 0;
    for container in &mut containers {
        if container.stage != Stage::Absent {
            container.del(&held);
            left += 1;
        }
    }
    assert!(left > CONTAINERS / 8, "only {left} were to be removed");
    assert!(held.is_empty());
    collect(networks, &[]);
    state::reaches(host, networks, &before);
    let records = files(&host.path("run"));
    let left: Vec<&String> = records.iter().filter(|name| name.contains('.')).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// GC of each plugin of each network, as a runtime calls it: what is attached is valid.
fn collect(networks: &[Network], containers: &[Container<'_>]) {
    for (index, network) in networks.iter().enumerate() {
        let valid = containers
            .iter()
            .filter(|it| it.network_index == index && it.is_attached());
        let valid: Vec<(&str, &str)> = valid.map(|it| (it.pod.name(), "eth0")).collect();
        network.gc(&valid);
    }
}

fn seed() -> u64 {
    std::env::var("MODEL_SEED").map_or(1, |seed| seed.parse().unwrap())
}

#[test]
fn of_two_hundred_containers_at_once_no_two_have_one_address_or_port_and_gc_leaves_what_lives() {
    on_host(|host| play(host, &one_by_one(host), seed()));
}
