//! Which agents run in this network namespace. Each listens on an abstract socket that bears its instance's name: such a
//! name exists once in a namespace, ends with its process however that ends, and needs no folder that all agents see.
//! What an agent says by it is only that it is there; nothing is ever read or answered.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket,
};
use nix::unistd::geteuid;
use tweed_overlay::kernel::{Ask, Running};

use crate::instance::Instance;
use crate::lock;

/// Held while this process is the instance's agent in this network namespace.
#[derive(Debug)]
pub struct Presence {
    _socket: Option<OwnedFd>,
}

impl Presence {
    /// Says that the instance's agent runs. A stranger that has taken the name changes nothing: only a process with the
    /// rights of an agent is believed to be one.
    ///
    /// # Errors
    /// If another agent has the instance's name.
    pub fn announce(instance: &Instance) -> anyhow::Result<Self> {
        let socket = stream()?;
        match bind(socket.as_raw_fd(), &name(instance.as_str())?) {
            Ok(()) => {
                let backlog = Backlog::new(16).context("a backlog")?;
                listen(&socket, backlog).context("listen on an abstract socket")?;
                Ok(Self {
                    _socket: Some(socket),
                })
            }
            Err(Errno::EADDRINUSE) => match listener(instance.as_str()) {
                Some(running) => bail!(
                    "another tweedd{} works on this host as instance {instance}, with another --run-dir; stop it, or give this one another name by --instance",
                    pid(running)
                ),
                None => {
                    tracing::warn!(
                        %instance,
                        "a process without an agent's rights has taken the abstract socket by which agents know each other; find it with: ss -xlp"
                    );
                    Ok(Self { _socket: None })
                }
            },
            Err(errno) => bail!("take an abstract socket: {}", errno.desc()),
        }
    }
}

/// Tells whether an instance's agent runs on this host: by its abstract socket, or, for an agent of an earlier version,
/// by its lock in the folder of locks.
pub fn others(run_dir: &Path) -> Ask {
    let run_dir: PathBuf = run_dir.to_owned();
    Box::new(move |name| {
        let instance = Instance::named(name)?;
        let locked = lock::held_by(&run_dir, &instance);
        let pid = |pid| Running { pid: Some(pid) };
        locked.map(pid).or_else(|| listener(name))
    })
}

/// The agent that listens under an instance's name.
fn listener(instance: &str) -> Option<Running> {
    let socket = stream().ok()?;
    connect(socket.as_raw_fd(), &name(instance).ok()?).ok()?;
    let peer = getsockopt(&socket, PeerCredentials).ok()?;
    let trusted = peer.uid() == 0 || peer.uid() == geteuid().as_raw();
    let pid = u32::try_from(peer.pid()).ok().filter(|pid| *pid != 0);
    trusted.then_some(Running { pid })
}

fn pid(running: Running) -> String {
    let pid = running.pid.map(|pid| format!(" (pid {pid})"));
    pid.unwrap_or_default()
}

/// Never waits: where the queue is full nobody can be asked.
fn stream() -> anyhow::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Stream, flags, None).context("make a socket")
}

fn name(instance: &str) -> anyhow::Result<UnixAddr> {
    UnixAddr::new_abstract(format!("tweedd/{instance}").as_bytes()).context("a socket's name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_announced_once_and_seen_by_others_as_long_as_it_lives() {
        // Other tests and a real agent may run in this namespace.
        let instance = Instance::named(&format!("t{}-presence", std::process::id()));
        let instance = instance.expect("a name");
        let dir = tempfile::tempdir().expect("a folder");
        let mut ask = others(dir.path());
        assert_eq!(ask(instance.as_str()), None);

        let presence = Presence::announce(&instance).expect("the first");
        let pid = Some(std::process::id());
        assert_eq!(ask(instance.as_str()), Some(Running { pid }));
        let refused = Presence::announce(&instance).expect_err("the second");
        assert!(refused.to_string().contains("--instance"), "{refused}");
        // Many questions, none of which is ever answered.
        for _ in 0..100 {
            let _ = ask(instance.as_str());
        }

        drop(presence);
        assert_eq!(ask(instance.as_str()), None);
        Presence::announce(&instance).expect("free again");
    }

    #[test]
    fn an_agent_that_only_holds_its_lock_is_seen_too() {
        let dir = tempfile::tempdir().expect("a folder");
        let instance = Instance::named("tweed-0a1b2c3d").expect("a name");
        let lock = lock::Lock::acquire(dir.path(), &instance).expect("a lock");
        let mut ask = others(dir.path());
        let pid = Some(std::process::id());
        assert_eq!(ask(instance.as_str()), Some(Running { pid }));
        drop(lock);
        assert_eq!(ask(instance.as_str()), None);
    }
}
