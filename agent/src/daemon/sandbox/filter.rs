//! A program for seccomp(2), step by step.

use nix::libc::{
    self, BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W,
    SECCOMP_RET_ALLOW, sock_filter,
};

/// What an argument, by its place, is to be. Of each the kernel looks at the lower half only, as for all of these calls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument<'a> {
    /// It has one of these bits.
    Bits(u32, libc::c_int),
    /// It has none of these bits.
    Without(u32, libc::c_int),
    /// It is one of these.
    Is(u32, &'a [libc::c_int]),
    /// It is none of these.
    Other(u32, &'a [libc::c_int]),
}

/// Numbers of x86_64's other way in begin here.
const X32: u32 = 0x4000_0000;

/// Where things are in what a filter sees (`struct seccomp_data`, linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// The half of the first argument that has the small numbers: both processors are little-endian. The others follow it.
const FIRST_ARGUMENT: u32 = 16;
const ARGUMENT: u32 = 8;

/// Allows what it isn't told to end. Of calls that are always allowed the kernel takes note when it gets the program, and
/// doesn't run it for them.
pub(super) struct Filter(Vec<sock_filter>);

impl Filter {
    /// Another way in has other numbers: that is refused.
    pub(super) fn new(architecture: u32, refuse: u32) -> Self {
        Self(vec![
            load(ARCH),
            jump(BPF_JEQ, architecture, 1, 0),
            end(refuse),
            load(NUMBER),
            jump(BPF_JGE, X32, 0, 1),
            end(refuse),
        ])
    }

    /// Ends a call in this way if all these arguments are so.
    pub(super) fn end_where(
        &mut self,
        call: libc::c_long,
        arguments: &[Argument<'_>],
        verdict: u32,
    ) {
        let mut body = vec![end(verdict)];
        if !arguments.is_empty() {
            // The number of the call is back for what follows.
            body.push(load(NUMBER));
        }
        for argument in arguments.iter().rev() {
            let tests = tests(*argument, body.len() as u8 - 1);
            body.splice(0..0, tests);
        }
        // They are all below a thousand.
        let call = call as u32;
        self.0.push(jump(BPF_JEQ, call, 0, body.len() as u8));
        self.0.append(&mut body);
    }

    pub(super) fn finish(mut self) -> Vec<sock_filter> {
        self.0.push(end(SECCOMP_RET_ALLOW));
        self.0
    }
}

/// Passes over so many steps if the argument is not so.
fn tests(argument: Argument<'_>, steps: u8) -> Vec<sock_filter> {
    let (Argument::Bits(place, _)
    | Argument::Without(place, _)
    | Argument::Is(place, _)
    | Argument::Other(place, _)) = argument;
    let mut tests = vec![load(FIRST_ARGUMENT + ARGUMENT * place)];
    match argument {
        Argument::Bits(_, bits) => tests.push(jump(BPF_JSET, bits.cast_unsigned(), 0, steps)),
        Argument::Without(_, bits) => tests.push(jump(BPF_JSET, bits.cast_unsigned(), steps, 0)),
        Argument::Is(_, values) => {
            for (behind, value) in (0..values.len() as u8).rev().zip(values) {
                let no = if behind == 0 { steps } else { 0 };
                tests.push(jump(BPF_JEQ, value.cast_unsigned(), behind, no));
            }
        }
        Argument::Other(_, values) => {
            for (behind, value) in (0..values.len() as u8).rev().zip(values) {
                tests.push(jump(BPF_JEQ, value.cast_unsigned(), behind + steps, 0));
            }
        }
    }
    tests
}

fn load(offset: u32) -> sock_filter {
    step(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0)
}

/// Passes over so many steps.
fn jump(condition: u32, value: u32, if_so: u8, if_not: u8) -> sock_filter {
    step(BPF_JMP | condition | BPF_K, value, if_so, if_not)
}

fn end(verdict: u32) -> sock_filter {
    step(BPF_RET | BPF_K, verdict, 0, 0)
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}
