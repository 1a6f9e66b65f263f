//! The daemon: one thread that waits for callers, packets and times. It enters a container's namespace by a thread that
//! ends with the visit.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tweed_host::file_lock::{self, Sharing};

use crate::client::Timing;
use crate::clock::now;
use crate::connection::{Connection, Received};
use crate::keeper::Settings;
use crate::key::Key;
use crate::leases::{Caller, Leases};
use crate::listener::Listener;
use crate::log;
use crate::options::{Asked, HELP, Options};
use crate::record::Records;

/// Callers at a time. More wait in the socket's queue.
const CALLERS: usize = 1000;

/// Runs the daemon until SIGTERM or SIGINT. The leases stay: the next run goes on with them.
///
/// # Errors
/// What keeps it from starting, or from waiting.
pub fn run(arguments: &[String]) -> io::Result<()> {
    let options = match Options::parse(arguments).map_err(io::Error::other)? {
        Asked::Run(options) => options,
        Asked::Help => {
            log::line(HELP);
            return Ok(());
        }
    };
    raise_limit();
    // Before there are other threads.
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGTERM);
    ends.add(Signal::SIGINT);
    ends.thread_block()?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let ends = SignalFd::with_flags(&ends, flags)?;

    let records = Records::open(&options.leases)?;
    let _lock = lock(&options)?;
    let settings = Settings {
        prefix: options.prefix.clone(),
        broadcast: options.broadcast,
        timeout: options.timeout,
        timing: Timing {
            resend_max: options.resend_max,
            resend_timeout: options.resend_timeout,
        },
    };
    let leases = Leases::load(settings, records, now())?;
    let daemon = Daemon {
        listener: Listener::open(&options.socket)?,
        ends,
        leases,
        callers: BTreeMap::new(),
        next: 0,
    };
    if let Some(pidfile) = &options.pidfile {
        fs::write(pidfile, std::process::id().to_string())?;
    }
    let ended = daemon.run();
    if let Some(pidfile) = &options.pidfile {
        let _ = fs::remove_file(pidfile);
    }
    ended
}

/// Each container that waits for its lease takes two descriptors, and systemd's limit is 1,024. It isn't raised where it
/// can't be.
fn raise_limit() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// Two daemons with the same leases would both renew and release them.
fn lock(options: &Options) -> io::Result<fs::File> {
    let path = options.leases.join("lock");
    let file = fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)?;
    match file_lock::acquire(&file, Sharing::Exclusive, Duration::from_secs(5)) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::Error::new(
            error.kind(),
            format!("{}: another daemon runs with these leases", path.display()),
        )),
        locked => locked.map(|()| file),
    }
}

struct Daemon {
    listener: Listener,
    ends: SignalFd,
    leases: Leases,
    callers: BTreeMap<Caller, Connection>,
    next: Caller,
}

/// What a descriptor is.
enum Source {
    Ends,
    Listener,
    Caller(Caller),
    Interface(Key),
}

impl Daemon {
    fn run(mut self) -> io::Result<()> {
        loop {
            for source in self.wait()? {
                match source {
                    Source::Ends => return Ok(()),
                    Source::Listener => self.accept(),
                    Source::Caller(caller) => self.receive(caller),
                    Source::Interface(key) => self.leases.receive(&key, now()),
                }
            }
            self.leases.turn(now());
            self.drop_the_slow();
            self.answer();
        }
    }

    /// Waits until something is there, or due.
    fn wait(&self) -> io::Result<Vec<Source>> {
        let mut sources = vec![(Source::Ends, self.ends.as_fd())];
        if self.callers.len() < CALLERS {
            sources.push((Source::Listener, self.listener.socket.as_fd()));
        }
        let callers = self.callers.iter();
        sources.extend(
            callers.map(|(caller, connection)| (Source::Caller(*caller), connection.as_fd())),
        );
        let interfaces = self.leases.fds();
        sources.extend(interfaces.map(|(key, fd)| (Source::Interface(key.clone()), fd)));

        let deadlines = self.callers.values().filter_map(Connection::deadline);
        let due = deadlines.chain([self.leases.due()]).min();
        let wait = due.unwrap_or_default().saturating_sub(now());
        // Rounded up: `poll` counts whole milliseconds, and rounded down it would return before the time has come.
        let wait = i32::try_from(wait.as_millis() + 1).unwrap_or(i32::MAX);
        let wait = if due.is_some_and(|due| due <= now()) {
            0
        } else {
            wait
        };

        let mut fds: Vec<PollFd<'_>> = sources
            .iter()
            .map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN))
            .collect();
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, wait) {
            Err(nix::errno::Errno::EINTR) => return Ok(Vec::new()),
            polled => polled?,
        };
        let is_ready: Vec<bool> = fds
            .iter()
            .map(|fd| fd.revents().is_some_and(|events| !events.is_empty()))
            .collect();
        let ready = sources.into_iter().zip(is_ready);
        Ok(ready
            .filter_map(|((source, _), is_ready)| is_ready.then_some(source))
            .collect())
    }

    fn accept(&mut self) {
        // An error is that of one caller, or of the number of open files: the others go on.
        while self.callers.len() < CALLERS {
            let accepted = self.listener.socket.accept();
            match accepted.and_then(|(stream, _)| Connection::new(stream, now())) {
                Ok(connection) => {
                    self.next += 1;
                    self.callers.insert(self.next, connection);
                }
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        log::line(format_args!("accept a caller: {error}"));
                        // The caller is still there, and would be met again at once.
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    return;
                }
            }
        }
    }

    fn receive(&mut self, caller: Caller) {
        let Some(connection) = self.callers.get_mut(&caller) else {
            return;
        };
        match connection.receive() {
            Received::Part => {}
            Received::Request(request) => self.leases.request(caller, request, now()),
            Received::Closed => {
                self.callers.remove(&caller);
                self.leases.abandon(caller);
            }
        }
    }

    fn drop_the_slow(&mut self) {
        let now = now();
        self.callers
            .retain(|_, connection| connection.deadline().is_none_or(|deadline| deadline > now));
    }

    /// Answers those whose answers are ready. What a caller that is gone was to have stays until DEL or GC.
    fn answer(&mut self) {
        for (caller, reply) in self.leases.replies() {
            if let Some(mut connection) = self.callers.remove(&caller) {
                let _ = connection.answer(&reply);
            }
        }
    }
}
