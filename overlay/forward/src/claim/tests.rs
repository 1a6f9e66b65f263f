use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Asks as often as is to be asked; none of it is answered. What counts then, after how many questions, and when.
fn unanswered(claims: &mut Claims, mut now: Duration) -> (Found, usize, Duration) {
    let mut questions = 1;
    loop {
        now = claims.deadline().unwrap().max(now);
        match claims.overdue(now).unwrap() {
            Next::Ask(_) => questions += 1,
            Next::Counts(found) => return (found, questions, now),
        }
    }
}

#[test]
fn a_claim_that_the_peer_refutes_never_counts_and_the_kernels_memory_is_passed_over() {
    let mut claims = Claims::default();
    let question = claims.add(PEER, 552, 7, SECOND).unwrap();
    assert_eq!((question.peer, claims.running()), (PEER, 1));
    assert!(!claims.is_false(PEER, SECOND), "nothing is known yet");
    let strange = Mark {
        token: 8,
        number: 1,
    };
    assert_eq!(claims.answered(strange, SECOND), None);
    assert_eq!(claims.answered(question.mark, SECOND), Some(PEER));
    assert_eq!((claims.running(), claims.deadline()), (0, None));
    assert_eq!(claims.found(SECOND).count(), 0);
    let old = SECOND + LIFETIME;
    assert!(claims.is_false(PEER, old - MILLISECOND) && !claims.is_false(PEER, old));
    assert!(!claims.is_false(OTHER, SECOND));
}

#[test]
fn a_late_answer_to_an_earlier_question_refutes_too() {
    let mut claims = Claims::default();
    let first = claims.add(PEER, 552, 7, SECOND).unwrap();
    assert!(matches!(
        claims.overdue(SECOND + ANSWER),
        Some(Next::Ask(_))
    ));
    assert_eq!(claims.answered(first.mark, SECOND + ANSWER), Some(PEER));
}

#[test]
fn a_claim_that_nobody_refutes_counts_within_a_second_until_it_is_old() {
    let mut claims = Claims::default();
    claims.add(PEER, 1400, 7, SECOND).unwrap();
    assert_eq!(claims.add(PEER, 1300, 8, SECOND), None);
    assert_eq!(claims.add(PEER, 1350, 9, SECOND), None);
    let (found, questions, when) = unanswered(&mut claims, SECOND);
    assert_eq!((found.peer, found.path, questions), (PEER, 1300, 3));
    assert!(when <= 2 * SECOND);
    assert_eq!(claims.found(when).collect::<Vec<_>>(), [found]);
    assert!(claims.add(PEER, 1300, 8, when).is_none(), "it is known");
    assert_eq!(claims.found(when + LIFETIME).count(), 0);
    assert!(claims.add(PEER, 1300, 8, when + LIFETIME).is_some());
    assert!(!claims.is_false(PEER, when));
}

#[test]
fn a_narrower_claim_is_looked_at_though_a_wider_one_counts() {
    let mut claims = Claims::default();
    claims.add(PEER, 1400, 7, SECOND).unwrap();
    let (_, _, now) = unanswered(&mut claims, SECOND);
    let question = claims.add(PEER, 1300, 8, now).unwrap();
    assert_eq!(claims.answered(question.mark, now), Some(PEER));
}

#[test]
fn what_the_interface_itself_refuses_counts_at_once() {
    let mut claims = Claims::default();
    let question = claims.add(PEER, 1300, 7, SECOND).unwrap();
    let found = claims.give_up(question.mark, SECOND).unwrap();
    assert_eq!((found.path, found.since), (1300, SECOND));
    assert_eq!(claims.give_up(question.mark, SECOND), None);
}

#[test]
fn after_a_false_claim_a_true_one_counts_within_two_seconds() {
    let mut claims = Claims::default();
    let question = claims.add(PEER, 552, 7, SECOND).unwrap();
    claims.answered(question.mark, SECOND).unwrap();
    assert_eq!(claims.add(PEER, 1300, 8, SECOND + MILLISECOND), None);
    assert!(claims.add(PEER, 1300, 8, SECOND + REST).is_some());
    assert!(
        !claims.is_false(PEER, SECOND + REST),
        "the kernel is heeded"
    );
    let (found, _, when) = unanswered(&mut claims, SECOND + REST);
    assert!(found.path == 1300 && when <= 3 * SECOND);
}

#[test]
fn peers_that_are_gone_are_forgotten() {
    let mut claims = Claims::default();
    claims.add(PEER, 552, 7, SECOND).unwrap();
    claims.add(OTHER, 552, 8, SECOND).unwrap();
    claims.follow(|peer| peer == OTHER);
    assert_eq!(claims.running(), 1);
}

proptest! {
    #[test]
    fn however_many_errors_a_stranger_sends_a_peer_that_answers_gets_an_echo_a_second_at_most(
        sent in prop::collection::vec((0..200u64, 0..1500u32, 0..100u64), 1..300),
    ) {
        let mut claims = Claims::default();
        let (mut now, mut asked) = (SECOND, 0);
        for (token, (passes, path, takes)) in sent.into_iter().enumerate() {
            now += Duration::from_millis(passes);
            prop_assert_eq!(claims.overdue(now), None);
            if let Some(question) = claims.add(PEER, path, token as u64, now) {
                asked += 1;
                now += Duration::from_millis(takes);
                prop_assert_eq!(claims.answered(question.mark, now), Some(PEER));
            }
            prop_assert_eq!(claims.found(now).count(), 0);
            prop_assert!(claims.is_false(PEER, now) && claims.0.len() == 1);
        }
        prop_assert!(asked <= now.as_secs() + 1);
    }
}
