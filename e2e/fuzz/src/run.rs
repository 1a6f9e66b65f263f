//! Runs a target over its inputs and says what became of them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use crate::source::Source;

/// Inputs of a target in a plain `cargo test`.
const FEW: u64 = 10_000;
/// Fewer say nothing about how many are accepted.
const ENOUGH: u64 = 200;

/// Gives each input to `step`, which says whether the code under test took it. At least `least` percent must be.
///
/// `FUZZ_INPUTS` says how many, `FUZZ_FROM` which is the first.
pub fn fuzz(target: &str, least: u64, step: impl Fn(&mut Source) -> bool) {
    run(target, least, number("FUZZ_INPUTS", FEW), step);
}

/// The same where an input costs a process: one in so many inputs is given.
pub fn fuzz_one_in(times: u64, target: &str, least: u64, step: impl Fn(&mut Source) -> bool) {
    let inputs = number("FUZZ_INPUTS", FEW).div_ceil(times);
    run(target, least, inputs, step);
}

fn run(target: &str, least: u64, inputs: u64, step: impl Fn(&mut Source) -> bool) {
    let from = number("FUZZ_FROM", 0);
    let (begin, mut accepted) = (Instant::now(), 0);
    for input in (from..).take(inputs as usize) {
        let outcome = catch_unwind(AssertUnwindSafe(|| step(&mut Source::new(input))));
        let taken = outcome.unwrap_or_else(|panic| {
            eprintln!("target {target} fails; again with FUZZ_FROM={input} FUZZ_INPUTS=1");
            resume_unwind(panic)
        });
        accepted += u64::from(taken);
    }
    let share = accepted as f64 * 100.0 / inputs as f64;
    println!(
        "fuzz {target:<14} {inputs:>9} inputs from {from}, {share:>5.1} % accepted, {:>5.1} s",
        begin.elapsed().as_secs_f64()
    );
    assert!(
        inputs < ENOUGH || accepted * 100 >= inputs * least,
        "target {target} accepts {share:.1} % of its inputs, {least} % at least are expected"
    );
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}
