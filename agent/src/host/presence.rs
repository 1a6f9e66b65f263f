//! Which agents run in this network namespace. Each listens on an abstract socket that bears its instance's name: such a
//! name exists once in a namespace, ends with its process however that ends, and needs no folder that all agents see.
//! The socket only shows that the agent is there; nothing is ever read or answered.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::libc;
use nix::sys::socket::sockopt::{PeerCredentials, SendTimeout};
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt,
    shutdown, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::geteuid;
use tweed_kernel::{Ask, Running};

use crate::config::instance::Instance;
use crate::host::lock;

/// How long to wait until a connection can be taken again.
const PAUSE: Duration = Duration::from_millis(50);

/// Held while this process is the instance's agent in this network namespace.
#[derive(Debug)]
pub struct Presence {
    listener: Option<(UnixListener, JoinHandle<()>)>,
}

impl Presence {
    /// Says that the instance's agent runs. A stranger that has taken the name changes nothing: only a process with the
    /// rights of an agent counts as one.
    ///
    /// # Errors
    /// If another agent has the instance's name.
    pub fn announce(instance: &Instance) -> anyhow::Result<Self> {
        let addr = SocketAddr::from_abstract_name(name(instance.as_str()));
        let addr = addr.context("a socket's name")?;
        let listener = match UnixListener::bind_addr(&addr) {
            Ok(listener) => listener,
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                return match listener(instance.as_str()) {
                    Some(running) => bail!(
                        "another tweedd{} works on this host as instance {instance}, with another --run-dir; stop it, or give this one another name by --instance",
                        pid(running)
                    ),
                    None => {
                        tracing::warn!(
                            %instance,
                            "a process without an agent's rights has taken the abstract socket by which agents know each other; find it with: ss -xlp"
                        );
                        Ok(Self { listener: None })
                    }
                };
            }
            Err(error) => return Err(error).context("take an abstract socket"),
        };
        let theirs = listener.try_clone().context("take an abstract socket")?;
        let thread = thread::Builder::new().name("presence".to_owned());
        let taking = thread.spawn(move || take_all(|| theirs.accept().map(drop)));
        let taking = taking.context("start a thread")?;
        Ok(Self {
            listener: Some((listener, taking)),
        })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some((listener, taking)) = self.listener.take() {
            // Ends the thread, and with it the name.
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
            let _ = taking.join();
        }
    }
}

/// Takes and closes each connection: a queue that is full looks as if nobody were there. One that can't be taken, for
/// want of a descriptor, is taken later; only a socket that was shut down ends this.
fn take_all(mut take: impl FnMut() -> io::Result<()>) {
    loop {
        match take() {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return,
            Err(_) => thread::sleep(PAUSE),
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

/// The agent that listens under an instance's name. Anybody can connect, and keep the queue full for a while: that is
/// waited for, a moment.
fn listener(instance: &str) -> Option<Running> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    setsockopt(&socket, SendTimeout, &TimeVal::milliseconds(200)).ok()?;
    let addr = UnixAddr::new_abstract(name(instance).as_bytes()).ok()?;
    connect(socket.as_raw_fd(), &addr).ok()?;
    let peer = getsockopt(&socket, PeerCredentials).ok()?;
    let trusted = peer.uid() == 0 || peer.uid() == geteuid().as_raw();
    let pid = u32::try_from(peer.pid()).ok().filter(|pid| *pid != 0);
    trusted.then_some(Running { pid })
}

fn pid(running: Running) -> String {
    let pid = running.pid.map(|pid| format!(" (pid {pid})"));
    pid.unwrap_or_default()
}

fn name(instance: &str) -> String {
    format!("tweedd/{instance}")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use nix::sys::socket::{Backlog, listen};

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
        // Many questions, of which none stays in the queue.
        for _ in 0..10_000 {
            let _ = ask(instance.as_str());
        }
        let taken = Instant::now();
        while ask(instance.as_str()).is_none() {
            assert!(
                taken.elapsed() < Duration::from_secs(20),
                "the queue is full"
            );
        }

        drop(presence);
        assert_eq!(ask(instance.as_str()), None);
        Presence::announce(&instance).expect("free again");
    }

    #[test]
    fn a_connection_that_can_not_be_taken_is_taken_later() {
        let errors = [
            libc::EMFILE,
            libc::ECONNABORTED,
            0,
            libc::ENFILE,
            libc::EINVAL,
        ];
        let mut left = errors.iter();
        take_all(|| match left.next().expect("it has ended") {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(*errno)),
        });
        assert_eq!(left.next(), None);
    }

    #[test]
    fn an_agent_whose_queue_strangers_fill_is_still_seen() {
        let instance = format!("t{}-flooded", std::process::id());
        let addr = SocketAddr::from_abstract_name(name(&instance)).expect("a name");
        let agent = UnixListener::bind_addr(&addr).expect("free");
        listen(&agent, Backlog::new(1).expect("a length")).expect("a short queue");
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let mut strangers = Vec::new();
        loop {
            let stranger = socket(AddressFamily::Unix, SockType::Stream, flags, None);
            let stranger = stranger.expect("a socket");
            let addr = UnixAddr::new_abstract(name(&instance).as_bytes()).expect("a name");
            if connect(stranger.as_raw_fd(), &addr).is_err() {
                break;
            }
            strangers.push(stranger);
        }
        let asked = Instant::now();
        assert_eq!(listener(&instance), None);
        assert!(asked.elapsed() >= Duration::from_millis(150), "it waits");
        let taking = thread::spawn(move || {
            for _ in &strangers {
                agent.accept().map(drop).expect("taken");
            }
            agent
        });
        let pid = Some(std::process::id());
        // On a busy machine the moment may be over before anything is taken.
        let seen = (0..50).find_map(|_| listener(&instance));
        assert_eq!(seen, Some(Running { pid }));
        taking.join().expect("ended");
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
