//! A host: network, mount, process, name and IPC namespaces that live exactly as long as their first process.
//!
//! That process waits for the end of a pipe whose other end is ours, so a host ends with the lab, even when the lab is
//! killed; the kernel then ends every process of the host and takes its devices, rules and mounts along.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::timed;

/// Gives the host what it must not share: `/proc` and `/sys` of its own, empty run and state folders, and a writable
/// layer over the folders that only some machines have sub-folders in. The cgroup mounts stay for container runtimes.
const SETUP: &str = r#"
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock /run/netns /run/.lab/cgroup
if [ -d /sys/fs/cgroup ]; then mount --rbind /sys/fs/cgroup /run/.lab/cgroup; fi
mount -t sysfs sysfs /sys
if mountpoint -q /run/.lab/cgroup; then mount --move /run/.lab/cgroup /sys/fs/cgroup; fi
for folder in etc opt var/lib; do
  layer=/run/.lab/$folder
  mkdir -p $layer/upper $layer/work
  mount -t overlay lab -o "lowerdir=/$folder,upperdir=$layer/upper,workdir=$layer/work" "/$folder"
done
for folder in var/lib/cni var/lib/tweed var/lib/etcd var/lib/docker etc/cni etc/flannel opt/cni; do
  mkdir -p /$folder
  mount -t tmpfs -o mode=755 lab /$folder
done
mkdir -p /etc/cni/net.d /opt/cni/bin
hostname "$1"
ip link set lo up
sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0
echo ready
exec cat >/dev/null
"#;

const OWN: CloneFlags = CloneFlags::CLONE_NEWNET
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC);

/// How long the kernel may take to end a host.
const GRACE: Duration = Duration::from_secs(5);

/// After this a program is taken to hang.
const HANGS: Duration = Duration::from_secs(60);

/// A host's namespaces.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    init: Child,
    net: File,
    mnt: File,
    pid: File,
    uts: File,
    ipc: File,
}

impl Namespace {
    /// Makes a host of this name, with nothing but a loopback device.
    ///
    /// # Errors
    /// When a namespace or mount cannot be made: not root, or a kernel without overlayfs.
    pub fn new(name: &str) -> Result<Self> {
        let mut init = on_own_thread(|| {
            unshare(OWN).context("make namespaces (are you root?)")?;
            Command::new("sh")
                .args(["-euc", SETUP, "lab", name])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .context("start the first process of a host")
        })?;
        let mut line = String::new();
        let stdout = init.stdout.take().context("the host has no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != "ready" {
            let output = init.wait_with_output()?;
            bail!(
                "host {name} cannot be set up: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let open = |ns: &str| {
            let path = format!("/proc/{}/ns/{ns}", init.id());
            File::open(&path).with_context(|| format!("open {path}"))
        };
        Ok(Self {
            name: name.to_owned(),
            net: open("net")?,
            mnt: open("mnt")?,
            pid: open("pid")?,
            uts: open("uts")?,
            ipc: open("ipc")?,
            init,
        })
    }

    /// The host's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first process, as seen from outside; `ip link … netns <pid>` takes it.
    pub fn init_pid(&self) -> u32 {
        self.init.id()
    }

    /// A path of the host as seen from outside, readable and writable.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        let relative = inside.strip_prefix("/").unwrap_or(inside);
        PathBuf::from(format!("/proc/{}/root", self.init.id())).join(relative)
    }

    /// The host itself as a place to run things.
    pub fn place(&self) -> Place<'_> {
        Place {
            host: self,
            pod: None,
        }
    }

    /// A pod of the host: its network namespace, everything else is the host's.
    pub fn pod<'a>(&'a self, netns: &'a str) -> Place<'a> {
        Place {
            host: self,
            pod: Some(netns),
        }
    }

    /// Processes that live in the host's network, as seen from outside.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let inode = self.net.metadata()?.ino();
        let pids = std::fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid: &u32| {
                // A process that has just ended has no namespaces.
                std::fs::metadata(format!("/proc/{pid}/ns/net"))
                    .is_ok_and(|meta| meta.ino() == inode)
            })
            .collect();
        Ok(pids)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.init.kill();
        // The first process has ended only when all others have, and when those that we started have been waited for.
        let ended = timed("the host ends", GRACE, || {
            self.init.try_wait()?.context("its first process is there")
        });
        if let Err(error) = ended
            && !thread::panicking()
        {
            let left = self.processes();
            panic!("host {} leaks: {error:#}; processes {left:?}", self.name);
        }
    }
}

/// Where something runs: a host, or one of its pods.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    host: &'a Namespace,
    pod: Option<&'a str>,
}

impl Place<'_> {
    /// What to call this place in messages.
    pub fn name(&self) -> String {
        match self.pod {
            Some(pod) => format!("{}/{pod}", self.host.name),
            None => self.host.name.clone(),
        }
    }

    /// Runs code on a thread that has joined the place. Sockets made there stay there, wherever they are used later.
    ///
    /// # Errors
    /// When the place cannot be joined, or those of the code.
    pub fn run<T: Send>(&self, code: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_own_thread(|| {
            self.join()?;
            code()
        })
    }

    /// Like [`Place::run`], for code that starts processes: they are the place's. It must not start threads.
    ///
    /// # Errors
    /// When the place cannot be joined, or those of the code.
    pub fn run_processes<T: Send>(&self, code: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.run(|| {
            // Concerns children only; from here on the kernel refuses this thread new threads.
            setns(&self.host.pid, CloneFlags::CLONE_NEWPID).context("join process namespace")?;
            code()
        })
    }

    /// Starts a process in the place.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.run_processes(|| {
            command
                .spawn()
                .with_context(|| format!("start {command:?} on {}", self.name()))
        })
    }

    /// Runs a program to its end and gives its standard output.
    ///
    /// # Errors
    /// When it cannot be started or fails; the message has its standard error.
    pub fn cmd<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Result<String> {
        self.cmd_with(&mut command(words)?, "")
    }

    /// Runs words that are separated by spaces, none of which contains one.
    ///
    /// # Errors
    /// As for [`Place::cmd`].
    pub fn sh(&self, line: &str) -> Result<String> {
        self.cmd(line.split_whitespace())
    }

    /// Runs a program to its end with this input (at most a pipe's buffer, 64 KiB) and gives its standard output.
    ///
    /// # Errors
    /// As for [`Place::cmd`].
    pub fn cmd_with(&self, command: &mut Command, input: &str) -> Result<String> {
        let output = self.output(command, input)?;
        if !output.status.success() {
            bail!(
                "{command:?} on {} ended with {}: {}",
                self.name(),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Like [`Place::cmd_with`], but a failing program is an answer too.
    ///
    /// # Errors
    /// When it cannot be started, or hangs: then it is ended.
    pub fn output(&self, command: &mut Command, input: &str) -> Result<Output> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.spawn(command)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that never reads its input closes the pipe; its exit status says whether it failed.
            let _ = stdin.write_all(input.as_bytes());
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).context("a pid fits")?);
        let (done, finished) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let watcher = scope.spawn(move || {
                let hangs = finished.recv_timeout(HANGS) == Err(RecvTimeoutError::Timeout);
                if hangs {
                    // Not waited for yet, so the number is still this child's.
                    let _ = kill(pid, Signal::SIGKILL);
                }
                hangs
            });
            let output = child.wait_with_output();
            drop(done);
            let hung: bool = watcher.join().unwrap_or_default();
            ensure!(!hung, "{command:?} on {} hangs", self.name());
            Ok(output?)
        })
    }

    fn join(&self) -> Result<()> {
        unshare(CloneFlags::CLONE_FS).context("unshare the working directory")?;
        setns(&self.host.mnt, CloneFlags::CLONE_NEWNS).context("join mount namespace")?;
        setns(&self.host.uts, CloneFlags::CLONE_NEWUTS).context("join name namespace")?;
        setns(&self.host.ipc, CloneFlags::CLONE_NEWIPC).context("join IPC namespace")?;
        match self.pod {
            None => setns(&self.host.net, CloneFlags::CLONE_NEWNET)?,
            Some(pod) => {
                let path = format!("/run/netns/{pod}");
                let file = File::open(&path)
                    .with_context(|| format!("open {path} on {}", self.host.name))?;
                setns(&file, CloneFlags::CLONE_NEWNET)?;
            }
        }
        Ok(())
    }
}

fn command<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Result<Command> {
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().context("a command without words")?);
    command.args(words);
    Ok(command)
}

/// Namespaces are joined by threads, and a thread that joined one is of no further use.
fn on_own_thread<T: Send>(code: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(code)
            .join()
            .unwrap_or_else(|payload| panic::resume_unwind(payload))
    })
}
