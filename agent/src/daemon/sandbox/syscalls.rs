//! A filter of system calls (seccomp(2)): those that the daemon has no use for, and an attacker has, fail with EPERM, and the
//! kernel's log names them. It comes on top of a runtime's or service manager's filter, never in its place.

use std::io;

use nix::errno::Errno;
use nix::libc::{self, SECCOMP_RET_ERRNO, sock_filter, sock_fprog};

use super::filter::{
    Argument::{self, Bits, Is, Other, Without},
    Filter,
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
    // Memory and queues that other processes share by number or name.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
    libc::SYS_vhangup,
    OPEN_TREE_ATTR,
    // Signals. To its own threads: `CONDITIONAL`.
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    libc::SYS_process_mrelease,
    // Processors and turns of other processes.
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setaffinity,
    libc::SYS_ioprio_set,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Modes, owners and attributes of files, programs' capabilities among them. Modes by descriptor: `CONDITIONAL`.
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    // The mode of what it makes lies where a filter can't look.
    libc::SYS_openat2,
    // By name. Landlock knows of it since Linux 6.2.
    libc::SYS_truncate,
];
// Not in libc yet (asm-generic/unistd.h).
const FCHMODAT2: libc::c_long = 452;
const SETXATTRAT: libc::c_long = 463;
const REMOVEXATTRAT: libc::c_long = 466;
const OPEN_TREE_ATTR: libc::c_long = 467;
const FILE_SETATTR: libc::c_long = 469;

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
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// Modes by which a program runs as its owner.
const SET_ID: libc::c_int = (libc::S_ISUID | libc::S_ISGID).cast_signed();
/// And those by which others may write.
const GIVES_AWAY: libc::c_int = SET_ID | (libc::S_IWGRP | libc::S_IWOTH).cast_signed();
/// Flags with which a file is made.
const MAKES: libc::c_int = libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY);
/// What the daemon talks to: the kernel, peers, its store, its own commands and the service manager.
const FAMILIES: &[libc::c_int] = &[
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];
/// Has the kernel send another process signals when a descriptor is ready (linux/fcntl.h).
const SET_OWNER: &[libc::c_int] = &[libc::F_SETOWN, 15];
/// Commands to descriptors: settings of files and sockets that libraries make, and those of the TUN device
/// (asm-generic/ioctls.h, linux/sockios.h, linux/if_tun.h). Others do more than reading, with a device that is open for
/// reading only: they type into a terminal, or send a disk its own commands.
const IOCTLS: &[libc::c_int] = &[
    libc::FIONBIO as libc::c_int,
    libc::FIONREAD as libc::c_int,
    libc::FIOCLEX as libc::c_int,
    libc::FIONCLEX as libc::c_int,
    libc::TCGETS as libc::c_int,
    libc::TIOCGWINSZ as libc::c_int,
    libc::SIOCGIFNAME as libc::c_int,
    libc::SIOCGIFINDEX as libc::c_int,
    libc::TUNSETIFF as libc::c_int,
    libc::TUNGETIFF as libc::c_int,
    libc::TUNSETPERSIST as libc::c_int,
    libc::TUNSETOFFLOAD as libc::c_int,
];

/// Calls that are refused where all of their arguments are so.
const CONDITIONAL: &[(libc::c_long, &[Argument])] = &[
    (libc::SYS_prlimit64, &[Other(0, &[0])]),
    (libc::SYS_setpriority, &[Other(0, &[0])]),
    (libc::SYS_setpriority, &[Other(1, &[0])]),
    (libc::SYS_socket, &[Other(0, FAMILIES)]),
    (libc::SYS_fcntl, &[Is(1, SET_OWNER)]),
    (libc::SYS_ioctl, &[Other(1, IOCTLS)]),
    (libc::SYS_fchmod, &[Bits(1, GIVES_AWAY)]),
    (libc::SYS_openat, &[Bits(2, MAKES), Bits(3, SET_ID)]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, &[Bits(1, MAKES), Bits(2, SET_ID)]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, &[Bits(1, SET_ID)]),
];

/// What the kernel calls the processor (linux/audit.h). `None` where nobody has tried this.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xC000_003E)
} else if cfg!(target_arch = "aarch64") {
    Some(0xC000_00B7)
} else {
    None
};

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
    install(older_calls(architecture), 0)?;
    install(refusals(architecture), libc::SECCOMP_FILTER_FLAG_LOG)
}

fn install(mut filter: Vec<sock_filter>, flags: libc::c_ulong) -> io::Result<()> {
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
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW | flags,
            &raw const program,
        )
    };
    Errno::result(set)?;
    Ok(())
}

/// What a filter can't look into is not there; the C library then uses the older call. That is no attack, and not logged.
fn older_calls(architecture: u32) -> Vec<sock_filter> {
    let mut filter = Filter::new(architecture, REFUSE);
    let absent = SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    filter.end_where(libc::SYS_clone3, &[], absent);
    filter.finish()
}

const REFUSE: u32 = SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();

fn refusals(architecture: u32) -> Vec<sock_filter> {
    let mut filter = Filter::new(architecture, REFUSE);
    for call in REFUSED.iter().chain(REFUSED_HERE) {
        filter.end_where(*call, &[], REFUSE);
    }
    for (call, arguments) in CONDITIONAL {
        filter.end_where(*call, arguments, REFUSE);
    }
    // To its own threads alone, as abort(3) does.
    let own = [std::process::id().cast_signed()];
    filter.end_where(libc::SYS_tgkill, &[Other(0, &own)], REFUSE);
    // Threads, and no processes.
    filter.end_where(libc::SYS_clone, &[Bits(0, NEW_NAMESPACES)], REFUSE);
    filter.end_where(libc::SYS_clone, &[Without(0, libc::CLONE_THREAD)], REFUSE);
    filter.finish()
}
