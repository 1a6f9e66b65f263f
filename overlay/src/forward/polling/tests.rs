use proptest::prelude::*;

use super::*;

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
    fn after(&mut self, wait: Duration, way: Option<Way>) -> Duration {
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
            looked[0] += usize::from(!self.after(wait_for_question, Some(Way::Out)).is_zero());
            looked[1] += usize::from(!self.after(wait_for_answer, Some(Way::In)).is_zero());
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
    assert_eq!(clock.after(micros(20), Some(Way::Out)), LIMIT);
    clock.after(micros(5_000), Some(Way::In));
    for _ in 0..8 {
        assert!(clock.after(micros(20), Some(Way::Out)).is_zero());
        clock.after(micros(30), Some(Way::In));
    }
    assert_eq!(clock.after(micros(20), Some(Way::Out)), LIMIT);
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
    for way in [Some(Way::Out), None] {
        let looked = (0..100).filter(|_| !clock.after(micros(20), way).is_zero());
        assert_eq!(looked.count(), 0, "{way:?}");
    }
    for _ in 0..100 {
        assert!(clock.after(micros(20), Some(Way::In)).is_zero());
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

proptest! {
    /// Whatever comes: of the time that passes, little is looked through in vain.
    #[test]
    fn looking_in_vain_is_rare(
        waits in prop::collection::vec((0..400_u64, prop::option::of(any::<bool>())), 1..3000),
    ) {
        let mut clock = Clock::default();
        let mut vain = 0;
        let mut look = Duration::ZERO;
        let count = waits.len();
        for (wait, way) in waits {
            vain += u32::from(!look.is_zero() && micros(wait) >= look);
            let way = way.map(|out| if out { Way::Out } else { Way::In });
            look = clock.after(micros(wait), way);
            prop_assert!(look <= LIMIT);
        }
        prop_assert!(vain as usize <= count / 8, "{vain} of {count}");
    }
}
