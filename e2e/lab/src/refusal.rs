//! A kernel with fewer features: some system calls of one process fail. A seccomp filter (seccomp(2)) refuses them; it sees
//! numbers, and not what pointers point to.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::libc::{
    self, BPF_ABS, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W,
    SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, sock_filter, sock_fprog,
};

/// Where the arguments begin in what a filter sees (`struct seccomp_data`, linux/seccomp.h).
const ARGUMENTS: u32 = 16;
/// Where the half of an argument is that has the small numbers.
const LOW: u32 = if cfg!(target_endian = "big") { 4 } else { 0 };

/// System calls that are refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    call: libc::c_long,
    arguments: Vec<(u32, Is)>,
    error: Errno,
}

/// Condition on an argument, as a number of 32 bits.
#[derive(Clone, Copy, Debug)]
enum Is {
    Equal(u32),
    Above(u32),
    WithAnyOf(u32),
}

impl Refusal {
    /// An option of UDP that sockets don't have.
    pub fn of_udp_option(option: libc::c_int) -> Self {
        Self {
            call: libc::SYS_setsockopt,
            arguments: vec![
                (1, Is::Equal(libc::SOL_UDP.cast_unsigned())),
                (2, Is::Equal(option.cast_unsigned())),
            ],
            error: Errno::ENOPROTOOPT,
        }
    }

    /// Offloads of which a TUN device has none, and a request for one of them gets no other either.
    pub fn of_tun_offloads(offloads: libc::c_uint) -> Self {
        Self {
            call: libc::SYS_ioctl,
            arguments: vec![
                (1, Is::Equal(libc::TUNSETOFFLOAD as u32)),
                (2, Is::WithAnyOf(offloads)),
            ],
            error: Errno::EINVAL,
        }
    }

    /// Writes of more than so many parts.
    pub fn of_writes_in_parts(most: u32) -> Self {
        Self {
            call: libc::SYS_writev,
            arguments: vec![(2, Is::Above(most))],
            error: Errno::EINVAL,
        }
    }

    /// The filter: whatever does not apply goes to the last step.
    fn program(&self) -> Vec<sock_filter> {
        let step = |code: u32, jf: u8, k: u32| sock_filter {
            code: code as u16,
            jt: 0,
            jf,
            k,
        };
        let arguments = self.arguments.iter();
        let arguments = arguments.map(|(number, is)| (ARGUMENTS + 8 * number + LOW, *is));
        let call = Is::Equal(self.call as u32);
        let conditions: Vec<_> = [(0, call)].into_iter().chain(arguments).collect();
        let mut steps = Vec::new();
        for (number, (place, is)) in conditions.iter().enumerate() {
            let (test, k) = match *is {
                Is::Equal(k) => (BPF_JEQ, k),
                Is::Above(k) => (BPF_JGT, k),
                Is::WithAnyOf(k) => (BPF_JSET, k),
            };
            let to_the_end = 2 * (conditions.len() - number) - 1;
            steps.push(step(BPF_LD | BPF_W | BPF_ABS, 0, *place));
            steps.push(step(BPF_JMP | test | BPF_K, to_the_end as u8, k));
        }
        let refused = SECCOMP_RET_ERRNO | self.error as u32;
        steps.push(step(BPF_RET | BPF_K, 0, refused));
        steps.push(step(BPF_RET | BPF_K, 0, SECCOMP_RET_ALLOW));
        steps
    }
}

/// Has a command refused these, and all that it starts.
pub(crate) fn refuse(command: &mut Command, refusals: &[Refusal]) {
    for refusal in refusals {
        let mut steps = refusal.program();
        #[expect(unsafe_code, reason = "a filter is the process's own to set")]
        // SAFETY: between fork and exec it makes one system call and takes no memory.
        unsafe {
            command.pre_exec(move || set(&mut steps));
        }
    }
}

fn set(steps: &mut [sock_filter]) -> io::Result<()> {
    let program = sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    #[expect(unsafe_code, reason = "nix sets no filters")]
    // SAFETY: the kernel reads a program of the length that is said, and copies it.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::c_ulong::from(libc::SECCOMP_MODE_FILTER),
            &raw const program,
        )
    };
    Ok(Errno::result(result).map(drop)?)
}
