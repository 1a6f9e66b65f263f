#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

use super::*;

const SECOND: Duration = Duration::from_secs(1);

type Passes = fn(IpAddr, u16) -> bool;

/// A network of peers, and what gets through it.
struct World {
    prober: Prober,
    now: Duration,
    /// Whether an echo of this length to this address comes back.
    passes: Passes,
    takes: Duration,
    numbers: u64,
    sent: Vec<(Duration, Request)>,
}

fn target(number: u16, tunnel: bool) -> (Id, Target) {
    let [high, low] = number.to_be_bytes();
    let key = format!("10.{high}.{low}.0-24").parse().unwrap();
    let addr = |text: String| text.parse().unwrap();
    let target = Target {
        underlay: addr(format!("192.0.{high}.{low}")),
        tunnel,
        mtu: 1450,
    };
    ((key, Family::V4), target)
}

fn world(targets: impl IntoIterator<Item = (Id, Target)>) -> World {
    let mut prober = Prober::default();
    let mut place = 0.0;
    let targets: BTreeMap<_, _> = targets.into_iter().collect();
    set(&mut prober, targets, Duration::ZERO, || {
        place = (place + 0.618) % 1.0;
        place
    });
    World {
        prober,
        now: Duration::ZERO,
        passes: |_, _| true,
        takes: Duration::from_millis(1),
        numbers: 0,
        sent: Vec::new(),
    }
}

fn set(
    prober: &mut Prober,
    peers: impl IntoIterator<Item = (Id, Target)>,
    now: Duration,
    random: impl FnMut() -> f64,
) {
    let all = |each: &mut dyn FnMut(Id, Target)| {
        peers.into_iter().for_each(|(id, target)| each(id, target));
    };
    prober.set(all, now, random);
}

fn in_tunnel(to: IpAddr) -> bool {
    to.to_string().starts_with("10.")
}

impl World {
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.prober.due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let numbers = &mut self.numbers;
            let requests = self.prober.step(self.now, || {
                *numbers += 1;
                *numbers
            });
            for request in requests {
                self.sent.push((self.now, request));
                if (self.passes)(request.to, request.length) {
                    let at = self.now + self.takes;
                    self.prober.take(request.number, request.to, at);
                }
            }
        }
        self.now = end;
    }

    fn health(&self, number: u16) -> Health {
        self.prober.health(&target(number, true).0.0).unwrap()
    }

    fn state(&self, number: u16) -> State {
        self.health(number).state
    }

    fn sent_in(&mut self, time: Duration) -> usize {
        self.sent.clear();
        self.run(time);
        self.sent.len()
    }
}

#[test]
fn a_peer_that_answers_is_ok_from_its_first_answer_on_and_asked_seldom() {
    let mut world = world([target(1, true)]);
    assert_eq!(world.state(1), State::Unknown);
    world.run(SECOND);
    let health = world.health(1);
    assert_eq!(health.state, State::Ok);
    assert_eq!(health.rtt, Some(Duration::from_millis(1)));
    let sent = world.sent_in(60 * SECOND);
    assert!((6..=9).contains(&sent), "{sent} in a minute");
    assert!(world.sent.iter().all(|(_, ask)| in_tunnel(ask.to)));
    assert!(world.sent.iter().any(|(_, ask)| ask.length == 1450));
}

#[test]
fn a_tunnel_that_carries_nothing_is_told_apart_from_a_node_that_is_gone_within_fifteen_seconds() {
    let cases: [(Passes, State); 2] = [
        (|to, _| !in_tunnel(to), State::NoAnswerByTunnel),
        (|_, _| false, State::NoAnswer),
    ];
    for (passes, state) in cases {
        let mut world = world([target(1, true), target(2, true)]);
        world.run(25 * SECOND);
        world.passes = passes;
        world.run(15 * SECOND);
        assert_eq!(world.state(1), state);
        let turned = world.prober.turned();
        let last = turned
            .iter()
            .rev()
            .find(|turned| turned.id == target(1, true).0);
        assert_eq!(last.unwrap().now.state, state);
        world.passes = |_, _| true;
        world.run(2 * SECOND);
        assert_eq!(world.state(1), State::Ok, "one answer says that it is back");
    }
}

#[test]
fn one_or_two_lost_answers_are_no_news() {
    let mut world = world([target(1, true)]);
    world.run(20 * SECOND);
    for _ in 0..5 {
        world.prober.turned();
        world.passes = |_, _| false;
        // The next round, and the second attempt.
        let due = world.prober.due().unwrap();
        world.run(due + SECOND + SECOND / 2 - world.now);
        world.passes = |_, _| true;
        world.run(30 * SECOND);
        assert!(world.prober.turned().is_empty());
    }
}

#[test]
fn the_largest_packet_that_passes_is_found_and_its_growth_noticed() {
    let mut world = world([target(1, true)]);
    world.run(20 * SECOND);
    world.passes = |_, length| length <= 1337;
    world.run(60 * SECOND);
    let health = world.health(1);
    assert_eq!(health.state, State::MtuReduced);
    let mtu = health.mtu.unwrap();
    assert!((1333..=1337).contains(&mtu), "{mtu}");
    world.passes = |_, _| true;
    world.run(40 * SECOND);
    assert_eq!((world.state(1), world.health(1).mtu), (State::Ok, None));
}

#[test]
fn a_node_that_has_just_come_has_time_to_make_its_device() {
    let mut world = world([target(1, true)]);
    world.passes = |to, _| !in_tunnel(to);
    world.run(15 * SECOND);
    assert_eq!(world.state(1), State::Unknown);
    world.run(10 * SECOND);
    assert_eq!(world.state(1), State::NoAnswerByTunnel);
}

#[test]
fn without_a_tunnel_a_node_that_never_answered_may_let_no_echoes_in() {
    let mut world = world([target(1, false)]);
    world.passes = |_, _| false;
    world.run(100 * SECOND);
    assert_eq!(world.state(1), State::Unknown);
    world.passes = |_, _| true;
    world.run(15 * SECOND);
    assert_eq!(world.state(1), State::Ok);
    world.passes = |_, _| false;
    world.run(15 * SECOND);
    assert_eq!(world.state(1), State::NoAnswer);
}

#[test]
fn a_peer_that_answers_much_later_than_it_did_is_slow() {
    let mut world = world([target(1, true)]);
    world.run(20 * SECOND);
    world.takes = Duration::from_millis(300);
    world.run(40 * SECOND);
    assert_eq!(world.state(1), State::Slow);
    world.takes = Duration::from_millis(2);
    world.run(20 * SECOND);
    assert_eq!(world.state(1), State::Ok);
}

#[test]
fn thousands_are_asked_each_minute_at_an_even_rate_whether_they_answer_or_not() {
    let mut world = world((0..5_000).map(|number| target(number, true)));
    world.run(70 * SECOND);
    world.sent.clear();
    let minute = world.sent_in(60 * SECOND);
    assert!((5_000..9_000).contains(&minute), "{minute} in a minute");
    let most = busiest(&world.sent);
    assert!(most < 300, "{most} in a second");
    assert_eq!(world.prober.states(), [(State::Ok, 5_000)].into());
    world.passes = |_, _| false;
    world.run(200 * SECOND);
    world.sent.clear();
    world.run(60 * SECOND);
    let most = busiest(&world.sent);
    assert!(most < 500, "{most} in a second");
    assert_eq!(world.prober.states(), [(State::NoAnswer, 5_000)].into());
}

fn busiest(sent: &[(Duration, Request)]) -> usize {
    let mut seconds = BTreeMap::<u64, usize>::new();
    for (at, _) in sent {
        *seconds.entry(at.as_secs()).or_default() += 1;
    }
    seconds.into_values().max().unwrap_or(0)
}

#[test]
fn an_answer_counts_only_with_its_number_and_from_the_address_that_was_asked() {
    let mut world = world([target(1, true)]);
    let mut number = 6;
    let requests = world.prober.step(SECOND, || {
        number += 1;
        number
    });
    let request = requests[0];
    world.prober.take(99, request.to, SECOND);
    world.prober.take(7, "192.0.2.99".parse().unwrap(), SECOND);
    assert_eq!(world.state(1), State::Unknown);
    world.prober.take(7, request.to, SECOND);
    assert_eq!(world.state(1), State::Ok);
}

#[test]
fn a_peer_that_leaves_is_asked_no_more_and_one_that_moves_is_a_new_one() {
    let mut world = world([target(1, true), target(2, true)]);
    world.run(20 * SECOND);
    let (id, moved) = target(2, true);
    let moved = Target {
        underlay: "192.0.2.77".parse().unwrap(),
        ..moved
    };
    let now = world.now;
    set(&mut world.prober, [(id, moved)], now, || 0.5);
    assert_eq!(world.prober.states(), [(State::Unknown, 1)].into());
    world.run(20 * SECOND);
    assert_eq!(world.prober.states(), [(State::Ok, 1)].into());
    assert_eq!(world.prober.peers().count(), 1);
}

#[test]
fn peers_keep_their_state_while_others_come_and_go_before_and_after_them() {
    let mut world = world([target(5, true), target(7, true)]);
    world.run(20 * SECOND);
    world.passes = |to, _| !to.to_string().contains(".7.") && !to.to_string().ends_with(".7");
    world.run(30 * SECOND);
    let before = (world.health(5), world.health(7));
    assert_eq!(
        (before.0.state, before.1.state),
        (State::Ok, State::NoAnswer)
    );
    let now = world.now;
    for numbers in [&[5, 7, 9][..], &[3, 5, 7], &[1, 2, 5, 6, 7]] {
        let peers = numbers.iter().map(|number| target(*number, true));
        set(&mut world.prober, peers, now, || 0.5);
        assert_eq!((world.health(5), world.health(7)), before);
    }
    world.run(20 * SECOND);
    let states = [(State::Ok, 4), (State::NoAnswer, 1)];
    assert_eq!(world.prober.states(), states.into());
    world.passes = |_, _| true;
    world.run(70 * SECOND);
    assert_eq!(world.prober.states(), [(State::Ok, 5)].into());
    set(&mut world.prober, [], world.now, || 0.5);
    assert_eq!(
        (world.prober.peers().count(), world.prober.due()),
        (0, None)
    );
}

#[test]
fn a_peer_takes_little_room() {
    assert!(size_of::<Side>() <= 128, "{} bytes", size_of::<Side>());
}
