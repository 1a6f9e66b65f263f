//! Landlock (landlock(7)): a process tells the kernel where it wants to be able to write, and to run programs, from now
//! on. Reading is left alone: name resolution, certificates and `/proc` lie in too many places.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

use super::files::Files;
use super::place::{Allowed, Place};

// linux/landlock.h
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_FIFO: u64 = 1 << 10;
const MAKE_BLOCK: u64 = 1 << 11;
const MAKE_SYM: u64 = 1 << 12;
/// From the third version on.
const TRUNCATE: u64 = 1 << 14;

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

/// All that may be forbidden.
const HANDLED: u64 = EXECUTE
    | WRITE_FILE
    | REMOVE_DIR
    | REMOVE_FILE
    | MAKE_CHAR
    | MAKE_DIR
    | MAKE_REG
    | MAKE_SOCK
    | MAKE_FIFO
    | MAKE_BLOCK
    | MAKE_SYM;
/// What is done in a folder of ours.
const EVERYTHING: u64 =
    WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_SYM | TRUNCATE;
const WRITING: u64 = WRITE_FILE | TRUNCATE;

/// `struct landlock_ruleset_attr`, as its first version has it.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// From now on the calling thread, and those it starts, write to these files only and run no program.
pub(super) fn confine(files: &Files) -> io::Result<()> {
    let handled = match version()? {
        ..3 => HANDLED,
        3.. => HANDLED | TRUNCATE,
    };
    let ruleset = create(handled)?;
    for Place { path, allowed } in files.places() {
        let Some((place, is_folder)) = there(&path) else {
            continue;
        };
        let allowed = match allowed {
            Allowed::Everything if is_folder && !is_too_much(&path, &place) => EVERYTHING,
            Allowed::Everything => continue,
            Allowed::Writing => WRITING,
        };
        allow(&ruleset, &place, allowed & handled)?;
    }
    restrict(&ruleset)
}

/// The place, and whether it is a folder; `None` if it isn't there or can't be looked at. Its file system isn't asked anything: it may be one that doesn't answer.
fn there(path: &Path) -> Option<(File, bool)> {
    for (flags, is_folder) in [
        (libc::O_PATH | libc::O_DIRECTORY, true),
        (libc::O_PATH, false),
    ] {
        match File::options().read(true).custom_flags(flags).open(path) {
            Ok(place) => return Some((place, is_folder)),
            Err(error) if error.kind() == ErrorKind::NotADirectory => {}
            Err(_) => return None,
        }
    }
    None
}

/// Whether a folder is the root of all: a right there is one to everything. One of the first level is given, since a flag
/// names it, and said.
fn is_too_much(path: &Path, place: &File) -> bool {
    // Links and relative names are resolved in this.
    let name = format!("/proc/self/fd/{}", place.as_raw_fd());
    let Ok(real) = std::fs::read_link(name) else {
        return true;
    };
    let depth = real.components().count() - 1;
    if depth < 2 {
        tracing::warn!(
            folder = %path.display(), granted = depth > 0,
            "a flag names a file or folder that lies in one of all programs: give it a folder of its own"
        );
    }
    depth == 0
}

fn version() -> io::Result<libc::c_long> {
    #[expect(unsafe_code, reason = "neither std nor nix has this call")]
    // SAFETY: it is given no memory; it answers with a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<RulesetAttr>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    Ok(Errno::result(version)?)
}

fn create(handled: u64) -> io::Result<OwnedFd> {
    let attr = RulesetAttr {
        handled_access_fs: handled,
    };
    #[expect(unsafe_code, reason = "neither std nor nix has this call")]
    // SAFETY: the structure is what its length says, and is only read.
    let made = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attr,
            size_of::<RulesetAttr>(),
            0_u32,
        )
    };
    let fd = Errno::result(made)?;
    #[expect(unsafe_code, reason = "the call answers with a number")]
    // SAFETY: the kernel has just opened it for us. A descriptor fits into an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

fn allow(ruleset: &OwnedFd, place: &File, allowed: u64) -> io::Result<()> {
    let attr = PathBeneathAttr {
        allowed_access: allowed,
        parent_fd: place.as_fd().as_raw_fd(),
    };
    #[expect(unsafe_code, reason = "neither std nor nix has this call")]
    // SAFETY: the structure is that of this kind of rule, and is only read; both descriptors are open.
    let added = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const attr,
            0_u32,
        )
    };
    Errno::result(added)?;
    Ok(())
}

fn restrict(ruleset: &OwnedFd) -> io::Result<()> {
    #[expect(unsafe_code, reason = "neither std nor nix has this call")]
    // SAFETY: it is given a descriptor that is open, and no memory.
    let restricted =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) };
    Errno::result(restricted)?;
    Ok(())
}
