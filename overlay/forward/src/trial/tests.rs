use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::echo::{AddrPair, LARGEST, ROOM};
use super::*;
use crate::arbitrary::at_least;
use crate::packet::Packet;

const PEER: Target = target(1, 1);
const OTHER: Target = target(2, 2);
const MILLISECOND: Duration = Duration::from_millis(1);

const fn target(addr: u8, subnet: u8) -> Target {
    Target {
        addr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, addr)),
        inside: Some(IpAddr::V4(Ipv4Addr::new(10, 42, subnet, 0))),
    }
}

fn trials() -> Trials {
    let mut trials = Trials::default();
    trials.follow([OTHER, PEER, PEER].into_iter());
    trials
}

/// Tries a peer over a path that says how long each answer takes, if it comes. What was found, after how many questions,
/// and when.
fn run(
    trials: &mut Trials,
    peer: Target,
    start: Duration,
    mut path: impl FnMut(&Ask) -> Option<Duration>,
) -> (News, usize, Duration) {
    let mut now = start;
    let mut answers: Vec<(Duration, Mark)> = Vec::new();
    let mut next = trials.begin(peer, 7, now).map(Next::Ask);
    for asked in 0..1000 {
        let ask = match next {
            Some(Next::Ask(ask)) => ask,
            Some(Next::Over(news)) => return (news, asked, now),
            None => panic!("it stands still after {asked} questions"),
        };
        assert_eq!(ask.peer, peer);
        answers.extend(path(&ask).map(|takes| (now + takes, ask.mark)));
        next = None;
        while next.is_none() {
            answers.sort_unstable_by_key(|(at, mark)| (std::cmp::Reverse(*at), mark.number));
            let deadline = trials.deadline().expect("it runs");
            match answers.pop() {
                Some((at, mark)) if at < deadline => {
                    now = at;
                    next = trials.answered(mark, now);
                }
                later => {
                    answers.extend(later);
                    now = deadline;
                    next = trials.overdue(now);
                }
            }
        }
    }
    panic!("it does not end");
}

fn is_together(ask: &Ask) -> bool {
    ask.form != Form::Alone
}

#[test]
fn a_peer_that_answers_all_goes_on_getting_several_at_once_for_ten_minutes() {
    let mut trials = trials();
    assert_eq!(trials.standing(PEER), Standing::default(), "due at once");
    let mut asked = Vec::new();
    let (news, count, end) = run(&mut trials, PEER, MILLISECOND, |ask| {
        asked.push(ask.form);
        Some(MILLISECOND)
    });
    assert_eq!(asked[0], Form::Alone);
    assert_eq!(asked[1..], ROUNDS, "each once");
    assert_eq!((count, end), (5, 6 * MILLISECOND));
    assert_eq!((news.singly, news.changed), (false, false));
    let standing = trials.standing(PEER);
    assert_eq!((standing.singly, standing.due), (false, end + LIFETIME));
    assert_eq!(trials.begin(PEER, 8, end + LIFETIME - MILLISECOND), None);
    assert!(trials.begin(PEER, 8, end + LIFETIME).is_some());
    assert_eq!(trials.begin(PEER, 9, end + LIFETIME), None, "it runs");
}

#[test]
fn a_peer_that_several_at_once_do_not_reach_gets_single_ones_within_a_second_until_they_do() {
    for broken in ROUNDS {
        let mut trials = trials();
        let path = |ask: &Ask| (ask.form != broken).then_some(MILLISECOND);
        let (news, _, end) = run(&mut trials, PEER, Duration::ZERO, path);
        assert_eq!((news.singly, news.changed), (true, true), "{broken:?}");
        assert!(end < Duration::from_secs(1), "{end:?}");
        let untried = trials.standing(OTHER);
        assert_eq!((untried.singly, untried.due), (true, Duration::ZERO));

        let (news, _, end) = run(&mut trials, PEER, end + RETRY, path);
        assert_eq!((news.singly, news.changed), (true, false), "still");
        assert_eq!(trials.standing(PEER).due, end + RETRY);
        let (news, ..) = run(&mut trials, PEER, end + RETRY, |_| Some(MILLISECOND));
        assert_eq!((news.singly, news.changed), (false, true), "it healed");
        assert!(!trials.standing(OTHER).singly);
    }
}

#[test]
fn a_peer_that_answers_nothing_changes_nothing() {
    let mut trials = trials();
    let (news, count, _) = run(&mut trials, PEER, Duration::ZERO, |_| None);
    assert_eq!((news.singly, news.changed, count), (false, false, 3));
    let broken = |ask: &Ask| (!is_together(ask)).then_some(MILLISECOND);
    let (_, _, end) = run(&mut trials, PEER, 40 * ALONE, broken);
    let (news, ..) = run(&mut trials, PEER, end + RETRY, |_| None);
    assert_eq!((news.singly, news.changed), (true, false));
}

/// Each answers single questions only.
fn damaged(ask: &Ask) -> Option<Duration> {
    (!is_together(ask)).then_some(MILLISECOND)
}

#[test]
fn a_peer_that_answers_nothing_gets_single_ones_only_as_long_as_others_need_them() {
    let mut trials = trials();
    let (_, _, end) = run(&mut trials, OTHER, Duration::ZERO, damaged);
    let (news, _, end) = run(&mut trials, PEER, end, |_| None);
    assert_eq!((news.singly, news.changed), (true, false));
    let (_, _, end) = run(&mut trials, OTHER, end + RETRY, |_| Some(MILLISECOND));
    assert!(!trials.standing(PEER).singly, "the other one healed");
    assert!(trials.standing(PEER).due > Duration::ZERO, "it was tried");
    let (news, ..) = run(&mut trials, PEER, end + RETRY, |_| None);
    assert_eq!((news.singly, news.changed), (false, false));
}

#[test]
fn one_peer_that_lies_slows_no_others_once_one_is_known_to_get_several() {
    let third = target(3, 3);
    let mut trials = Trials::default();
    trials.follow([PEER, OTHER, third].into_iter());
    let (_, _, end) = run(&mut trials, PEER, Duration::ZERO, |_| Some(MILLISECOND));
    let (news, _, end) = run(&mut trials, OTHER, end, damaged);
    assert!(news.singly, "itself");
    assert!(!trials.standing(third).singly);
    let (news, ..) = run(&mut trials, third, end, |_| None);
    assert_eq!((news.singly, news.changed), (false, false));
    trials.follow([OTHER, third].into_iter());
    assert!(trials.standing(third).singly, "nothing else is known");
    assert!(trials.standing(third).assumed && !trials.standing(OTHER).assumed);
    trials.follow([third].into_iter());
    assert!(!trials.standing(third).singly, "nothing is known");
}

#[test]
fn two_leases_of_one_address_are_judged_each_by_itself() {
    let (false_one, true_one) = (target(1, 9), PEER);
    let mut trials = Trials::default();
    trials.follow([false_one, true_one].into_iter());
    let (_, _, end) = run(&mut trials, false_one, Duration::ZERO, |_| None);
    assert_eq!(trials.standing(true_one).due, Duration::ZERO, "untried");
    let (news, ..) = run(&mut trials, true_one, end, damaged);
    assert_eq!((news.singly, news.changed), (true, true));
}

#[test]
fn a_peer_that_is_gone_is_forgotten_and_what_is_found_of_it_is_nobodys() {
    let mut trials = trials();
    let ask = trials.begin(PEER, 7, Duration::ZERO).unwrap();
    trials.follow([OTHER].into_iter());
    assert_eq!(trials.standing(PEER), Standing::default());
    trials.give_up(ask.mark, Duration::ZERO);
    assert_eq!(trials.running(), 0);
    assert_eq!(trials.standing(PEER), Standing::default());
    trials.give_up(ask.mark, Duration::ZERO);
}

#[test]
fn only_so_many_peers_are_tried_at_once() {
    let mut trials = Trials::default();
    let peer = |number| target(number, number);
    trials.follow((0..20).map(peer));
    let begun = (0..20).filter(|number| {
        let token = u64::from(*number);
        trials.begin(peer(*number), token, Duration::ZERO).is_some()
    });
    assert_eq!(begun.count(), MOST);
}

proptest! {
    #![proptest_config(at_least(500))]

    #[test]
    fn loss_that_hits_all_alike_is_not_taken_for_damage(
        seed in any::<u64>(),
        takes in 0u64..900,
        percent in 0u64..6,
    ) {
        // A generator of its own: a shrunk list of losses would be none.
        let mut state = seed | 1;
        let mut lost = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % 100 < percent
        };
        let mut trials = trials();
        let mut found = 0;
        let mut now = Duration::ZERO;
        for _ in 0..20 {
            let path = |_: &Ask| (!lost()).then_some(MILLISECOND * takes as u32);
            let (news, _, end) = run(&mut trials, PEER, now, path);
            found += u8::from(news.singly);
            now = end + LIFETIME;
        }
        prop_assert!(found <= 1, "{found} of 20");
    }

    #[test]
    fn no_answers_whatever_their_order_keep_a_trial_from_its_end(
        script in prop::collection::vec((any::<u16>(), any::<bool>(), 0u64..2000), 0..200),
    ) {
        let mut trials = trials();
        let mut now = Duration::ZERO;
        let mut asked = BTreeSet::new();
        let ask = trials.begin(PEER, 7, now).unwrap();
        asked.insert(ask.mark.number);
        let mut steps = script.into_iter();
        while trials.running() > 0 {
            let (number, answers, passes) = steps.next().unwrap_or((0, false, 2000));
            now += MILLISECOND * passes as u32;
            let mark = Mark { token: 7, number: number % 64 };
            let next = if answers { trials.answered(mark, now) } else { trials.overdue(now) };
            if let Some(Next::Ask(ask)) = next {
                prop_assert_eq!(ask.mark.number % 2 == 1, is_together(&ask));
                prop_assert!(asked.insert(ask.mark.number), "asked twice");
            }
        }
        prop_assert!(asked.len() < 100);
        let late = Mark { token: 7, number: 2 };
        prop_assert!(trials.answered(late, now).is_none() && !trials.knows(late));
    }

    #[test]
    fn a_question_is_what_its_form_says_and_its_answer_is_known(
        v6 in any::<bool>(),
        token in any::<u64>(),
        number in any::<u16>(),
        place in 0..=ROUNDS.len(),
        size in 140usize..2000,
    ) {
        let ends = ends(v6);
        let form = ROUNDS.get(place).copied().unwrap_or(Form::Alone);
        let mark = Mark { token, number };
        let mut out = [0; ROOM];
        let packets = echo::write(ends, mark, form, size, &mut out);
        let Some(packets) = packets else {
            return Err(TestCaseError::fail("no room"));
        };
        prop_assert_eq!(packets.size, size.min(LARGEST));
        let mut asks = Vec::new();
        for (at, range) in packets.iter().enumerate() {
            let bytes = &mut out[range];
            let packet = Packet::parse(bytes).unwrap();
            prop_assert_eq!(usize::from(packet.len), bytes.len());
            prop_assert_eq!((packet.source, packet.destination), (ends.from, ends.to));
            let kind = usize::from(packet.header_len);
            if [8, 128].contains(&bytes[kind]) {
                asks.push(at);
                prop_assert_eq!(echo::answered(&packet, bytes), None, "it asks");
                answer(bytes, kind);
                prop_assert_eq!(echo::answered(&packet, bytes), Some(mark));
                bytes[kind + 20] ^= 1;
                prop_assert_eq!(echo::answered(&packet, bytes), None, "damaged");
            }
        }
        let expected = match form {
            Form::Alone => vec![0],
            Form::Together { place, .. } => vec![place],
        };
        prop_assert_eq!(asks, expected, "one is asked");
    }

    #[test]
    fn no_bytes_are_an_answer_by_chance(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(packet) = Packet::parse(&bytes) {
            let mark = echo::answered(&packet, &bytes);
            prop_assert!(mark.is_none_or(|mark| !trials().knows(mark)));
        }
    }
}

fn ends(v6: bool) -> AddrPair {
    let addr = |v4: &str, v6_addr: &str| match v6 {
        true => v6_addr.parse().unwrap(),
        false => v4.parse().unwrap(),
    };
    AddrPair {
        from: addr("10.42.1.0", "fd00:42:0:1::"),
        to: addr("10.42.2.0", "fd00:42:0:2::"),
    }
}

/// Makes a question the answer that a kernel gives, but for the addresses, which no checksum notices when exchanged.
fn answer(bytes: &mut [u8], kind: usize) {
    let (asked, answers) = match bytes[kind] {
        8 => (8u16, 0u16),
        _ => (128, 129),
    };
    let sum = u16::from_be_bytes([bytes[kind + 2], bytes[kind + 3]]);
    // RFC 1624, equation 3, a word at a time.
    let mut new = u32::from(!sum) + u32::from(!(asked << 8)) + u32::from(answers << 8);
    while new > 0xffff {
        new = (new & 0xffff) + (new >> 16);
    }
    bytes[kind] = answers as u8;
    bytes[kind + 2..kind + 4].copy_from_slice(&(!(new as u16)).to_be_bytes());
}
