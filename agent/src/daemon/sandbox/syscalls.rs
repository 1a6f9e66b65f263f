//! A filter of system calls (seccomp(2)): those that the daemon has no use for, and an attacker has, fail with EPERM. It
//! comes on top of a runtime's or service manager's filter, never in its place.

use std::io;

use nix::errno::Errno;
use nix::libc::{
    self, BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W,
    SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, sock_filter, sock_fprog,
};

/// Processes, other processes' memory, namespaces and mounts, the kernel itself, its clock and its keys; and what had more
/// than its share of holes: io_uring, userfaultfd, bpf, perf events.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mknodat,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
    libc::SYS_vhangup,
];

/// What only this kind of processor has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// What the kernel calls the processor (linux/audit.h). `None` where nobody has tried this.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xC000_003E)
} else if cfg!(target_arch = "aarch64") {
    Some(0xC000_00B7)
} else {
    None
};
/// Numbers of x86_64's other way in begin here.
const X32: u32 = 0x4000_0000;

/// Where things are in what a filter sees (`struct seccomp_data`, linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// The half of the first argument that has the small numbers: both processors are little-endian.
const FIRST_ARGUMENT: u32 = 16;

/// Namespaces that a new thread could be given.
const NEW_NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// From now on the calling thread, and those it starts, are refused these calls.
pub(super) fn confine() -> io::Result<()> {
    let Some(architecture) = ARCHITECTURE else {
        let what = "the numbers of its system calls on this processor are not known here";
        return Err(io::Error::new(io::ErrorKind::Unsupported, what));
    };
    let mut filter = program(architecture);
    let program = sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    #[expect(unsafe_code, reason = "neither std nor nix has this call")]
    // SAFETY: the program is as long as it says, and outlives the call, which copies it.
    let set = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            // Else kernels before 5.16 slow a filtered process down against Spectre, which is for those who run the code
            // of others.
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    Errno::result(set)?;
    Ok(())
}

/// Of calls that are never refused the kernel takes note when it gets the program, and doesn't run it for them.
fn program(architecture: u32) -> Vec<sock_filter> {
    let refuse = SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    let mut program = vec![
        load(ARCH),
        // Another way in has other numbers.
        jump(BPF_JEQ, architecture, 1, 0),
        end(refuse),
        load(NUMBER),
        jump(BPF_JGE, X32, 0, 1),
        end(refuse),
    ];
    for call in REFUSED.iter().chain(REFUSED_HERE) {
        program.extend([jump(BPF_JEQ, number(*call), 0, 1), end(refuse)]);
    }
    program.extend([
        // What a filter can't look into is not there; the C library then uses the older call.
        jump(BPF_JEQ, number(libc::SYS_clone3), 0, 1),
        end(SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
        jump(BPF_JEQ, number(libc::SYS_clone), 0, 5),
        load(FIRST_ARGUMENT),
        jump(BPF_JSET, NEW_NAMESPACES.cast_unsigned(), 0, 1),
        end(refuse),
        // Threads, and no processes.
        jump(BPF_JSET, libc::CLONE_THREAD.cast_unsigned(), 1, 0),
        end(refuse),
        end(SECCOMP_RET_ALLOW),
    ]);
    program
}

fn number(call: libc::c_long) -> u32 {
    // They are all below a thousand.
    call as u32
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
