use proptest::prelude::*;

use super::*;
use crate::arbitrary::at_least;

const DONE: Duration = Duration::from_micros(5);

fn micros(count: u64) -> Duration {
    Duration::from_micros(count)
}

/// A worker's time and what it is told to do.
#[derive(Default)]
struct Clock {
    polling: Polling,
    now: Duration,
}

impl Clock {
    /// A turn after a wait.
    fn after(&mut self, wait: Duration, way: Option<Direction>) -> Duration {
        let came = self.now + wait;
        self.now = came + DONE;
        self.polling.turn(way, came, self.now)
    }

    /// So many questions and answers. Gives how many waits were to be looked through.
    fn talk(
        &mut self,
        count: usize,
        wait_for_answer: Duration,
        wait_for_question: Duration,
    ) -> [usize; 2] {
        let mut looked = [0; 2];
        for _ in 0..count {
            looked[0] += usize::from(
                !self
                    .after(wait_for_question, Some(Direction::Out))
                    .is_zero(),
            );
            looked[1] += usize::from(!self.after(wait_for_answer, Some(Direction::In)).is_zero());
        }
        looked
    }
}

#[test]
fn answers_that_come_soon_are_looked_for_after_a_row_of_them() {
    let mut clock = Clock::default();
    assert_eq!(clock.talk(8, micros(30), micros(20)), [0, 0]);
    assert_eq!(clock.talk(500, micros(30), micros(20)), [500, 500]);
}

#[test]
fn waits_that_were_slept_through_may_be_longer_for_the_wake_ups_in_them() {
    let mut clock = Clock::default();
    assert_eq!(clock.talk(8, micros(190), micros(20))[0], 0);
    assert_eq!(clock.talk(1, micros(190), micros(20))[0], 1);
    assert_eq!(clock.talk(500, micros(30), micros(20))[0], 500);
    let mut clock = Clock::default();
    assert_eq!(clock.talk(500, micros(200), micros(20))[0], 0);
}

#[test]
fn each_way_is_judged_by_its_own_waits() {
    let mut clock = Clock::default();
    clock.talk(9, micros(30), micros(500));
    assert_eq!(
        clock.talk(500, micros(30), micros(500)),
        [500, 0],
        "answers come soon, questions do not"
    );
    let mut clock = Clock::default();
    clock.talk(9, micros(500), micros(30));
    assert_eq!(clock.talk(500, micros(500), micros(30)), [0, 500]);
}

#[test]
fn who_looked_in_vain_sleeps_until_there_was_a_row_again() {
    let mut clock = Clock::default();
    clock.talk(9, micros(30), micros(20));
    assert_eq!(clock.after(micros(20), Some(Direction::Out)), LIMIT);
    clock.after(micros(5_000), Some(Direction::In));
    for _ in 0..8 {
        assert!(clock.after(micros(20), Some(Direction::Out)).is_zero());
        clock.after(micros(30), Some(Direction::In));
    }
    assert_eq!(clock.after(micros(20), Some(Direction::Out)), LIMIT);
}

#[test]
fn a_trial_in_vain_is_the_most_that_is_spent_in_a_second() {
    let mut clock = Clock::default();
    let mut spent = Duration::ZERO;
    while clock.now < REST {
        spent += LIMIT * u32::try_from(clock.talk(1, micros(150), micros(500))[0]).unwrap();
    }
    assert_eq!(spent, LIMIT * JUDGED);
    assert!(spent < Duration::from_millis(26), "{spent:?}");
}

#[test]
fn packets_of_one_way_and_several_at_once_are_no_answers() {
    let mut clock = Clock::default();
    for way in [Some(Direction::Out), None] {
        let looked = (0..100).filter(|_| !clock.after(micros(20), way).is_zero());
        assert_eq!(looked.count(), 0, "{way:?}");
    }
    for _ in 0..100 {
        assert!(clock.after(micros(20), Some(Direction::In)).is_zero());
        assert!(clock.after(micros(20), None).is_zero());
    }
}

#[test]
fn waits_that_stay_long_are_left_alone_for_a_second() {
    let mut clock = Clock::default();
    let [looked, _] = clock.talk(500, micros(80), micros(20));
    assert_eq!(looked, 256, "a trial");
    let end = clock.now + Duration::from_millis(900);
    while clock.now < end {
        assert_eq!(clock.talk(1, micros(80), micros(20))[0], 0);
    }
    let [looked, _] = clock.talk(2_000, micros(80), micros(20));
    assert_eq!(looked, 256, "another trial");
    clock.now += REST;
    let [looked, _] = clock.talk(2_000, micros(50), micros(20));
    assert!(looked > 1_900, "they have become short: {looked}");
}

/// Turns that are alike: how many, their shortest wait and by how much others are longer in microseconds, and every
/// how many of them doesn't alternate with the one before.
type Row = (usize, u64, u64, usize);

fn row() -> impl Strategy<Value = Row> {
    let waits = prop_oneof![
        2 => (100..200_u64, 0..100_u64),
        1 => (0..100_u64, 0..100_u64),
        1 => (0..400_u64, 0..400_u64),
    ];
    let odd = prop_oneof![Just(usize::MAX), 1..40_usize];
    (1..2000_usize, waits, odd).prop_map(|(count, (least, more), odd)| (count, least, more, odd))
}

proptest! {
    #![proptest_config(at_least(512))]

    /// A look that a packet of the same way, several, or a wait that isn't short puts an end to comes after a row that
    /// went well, of each way. Looks that only last too long come by the trial, and there is one in a second.
    #[test]
    fn of_what_is_looked_through_most_pays_whatever_comes(rows in prop::collection::vec(row(), 1..20)) {
        let mut clock = Clock::default();
        let mut way = Direction::Out;
        let (mut look, mut before) = (Duration::ZERO, None);
        let (mut looks, mut spent) = (0, Duration::ZERO);
        for (count, least, more, odd) in rows {
            // After packets of each way.
            let (mut waits, mut broken) = ([0_u32; 2], [0_u32; 2]);
            for turn in 0..count {
                let wait = micros(least + turn as u64 * 37 % (more + 1));
                let is_odd = turn % odd == odd - 1;
                if !is_odd {
                    way = if way == Direction::Out { Direction::In } else { Direction::Out };
                }
                let now = (!is_odd || turn % 2 == 0).then_some(way);
                let place = usize::from(before == Some(Direction::In));
                waits[place] += u32::from(before.is_some());
                if !look.is_zero() {
                    looks += 1;
                    spent += wait.min(look);
                    let answers = now.is_some() && now != before;
                    broken[place] += u32::from(!answers || wait >= SHORT);
                }
                look = clock.after(wait, now);
                before = now;
                prop_assert!(look.is_zero() || look == LIMIT);
            }
            // What went well before these turns is good for one more.
            let most = waits.map(|waits| waits / (ROW + 1) + 1);
            prop_assert!(broken[0] <= most[0] && broken[1] <= most[1], "{broken:?} of {waits:?}");
        }
        // Of each way: one in each second that has begun, one more that began at its end, and one that isn't judged yet.
        let trials = 2 * (clock.now.as_secs() as u32 + 2);
        let most = WORTH * looks + (LIMIT - WORTH) * JUDGED * trials;
        prop_assert!(spent <= most, "{spent:?} for {looks} looks in {:?}", clock.now);
    }
}
