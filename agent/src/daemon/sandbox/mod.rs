//! What the daemon gives up for good before its threads start, so that code that an attacker gets into it finds little to
//! use: it writes in its own folders only, starts no program, and keeps away from system calls that it has no use for.
//! What a kernel or a container's filter doesn't let it give up stays, and status says so.

mod files;
mod filter;
mod landlock;
mod place;
mod syscalls;

use std::path::Path;

use nix::sys::prctl;
use tweed_host::bounded_file::{self, Links, MIB};

use crate::config::options::{Options, StoreOptions};
pub use files::Files;

/// What is in force, in words.
pub type InForce = Vec<String>;

/// Gives up what `options` don't need. To be called with one thread: what is given up is the calling thread's, and that of
/// those it starts.
pub fn enter(options: &Options) -> InForce {
    if let StoreOptions::Kube(kube) = &options.store
        && kube.kubeconfig.as_deref().is_some_and(starts_programs)
    {
        tracing::warn!(
            "the kubeconfig gets its credentials from a program (exec), which this agent could not start: it gives nothing up"
        );
        return Vec::new();
    }
    let files = Files::of(options);
    files.make();
    confine(&files)
}

/// Whether a kubeconfig names a program that gives credentials. One that can't be read is refused elsewhere.
fn starts_programs(kubeconfig: &Path) -> bool {
    let text = bounded_file::read_text(kubeconfig, Links::Followed, MIB).unwrap_or_default();
    let key = |line: &str| {
        line.trim_start_matches([' ', '-', '{', '"', '\''])
            .starts_with("exec")
    };
    text.split(['\n', ',', '{']).any(key)
}

/// The same for these files; for the calling thread and those it starts.
fn confine(files: &Files) -> InForce {
    let parts = [
        ("no new privileges", no_new_privileges()),
        ("files", landlock::confine(files)),
        ("system calls", syscalls::confine()),
    ];
    let mut in_force = Vec::new();
    for (what, done) in parts {
        match done {
            Ok(()) => in_force.push(what.to_owned()),
            Err(error) => tracing::warn!(
                what,
                %error,
                "this can't be given up here; the agent runs with more rights than it needs"
            ),
        }
    }
    in_force
}

/// Without this the kernel lets nobody but an administrator give up the others.
fn no_new_privileges() -> std::io::Result<()> {
    Ok(prctl::set_no_new_privs()?)
}

#[cfg(test)]
mod tests;
