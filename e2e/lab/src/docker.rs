//! A plain dockerd on a host, and containers made from nothing but a static busybox.

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::topology::Host;
use crate::wait::eventually;

/// Debian's busybox-static.
const BUSYBOX: &str = "/bin/busybox";
const IMAGE: &str = "lab/busybox";

/// A running dockerd with its containerd.
#[derive(Debug)]
pub struct Docker<'lab> {
    host: &'lab Host,
    child: Child,
    cgroup: String,
}

/// A running container.
#[derive(Debug)]
pub struct Container<'docker, 'lab> {
    docker: &'docker Docker<'lab>,
    /// Its ID, in full.
    pub id: String,
    /// Its address on Docker's bridge.
    pub addr: IpAddr,
}

impl<'lab> Docker<'lab> {
    /// Starts dockerd with these options, which come from `tweedd docker-opts`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(host: &'lab Host, options: &[String]) -> Result<Self> {
        let log = File::create(host.log("dockerd"))?;
        let cgroup = format!("tweed-lab-{}", host.ns().init_pid());
        // Docker must use the variant of iptables that the lab uses; it is chosen in this host's layer only.
        for (link, target) in [
            ("iptables", "/usr/sbin/iptables-nft"),
            ("ip6tables", "/usr/sbin/ip6tables-nft"),
        ] {
            host.sh(&format!("ln -sfn {target} /etc/alternatives/{link}"))?;
        }
        let mut command = Command::new("dockerd");
        command
            .args(["--host", "unix:///run/docker.sock"])
            .args([
                "--data-root",
                "/var/lib/docker",
                "--exec-root",
                "/run/docker",
            ])
            .args(["--pidfile", "/run/docker.pid", "--storage-driver", "vfs"])
            .arg(format!("--cgroup-parent=/{cgroup}"))
            .args(options)
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = host.place().spawn(&mut command)?;
        let docker = Self {
            host,
            child,
            cgroup,
        };
        eventually("dockerd answers", || docker.run(&["info"]).map(drop))?;
        docker.import()?;
        Ok(docker)
    }

    /// Runs the docker command.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("/usr/bin/docker");
        command
            .args(["--host", "unix:///run/docker.sock"])
            .args(words);
        self.host.place().cmd_with(&mut command, "")
    }

    /// Starts a container that sleeps.
    ///
    /// # Errors
    /// When Docker refuses.
    pub fn container(&self) -> Result<Container<'_, 'lab>> {
        self.container_with(&[])
    }

    /// The same with options of `docker run`.
    ///
    /// # Errors
    /// When Docker refuses.
    pub fn container_with(&self, options: &[&str]) -> Result<Container<'_, 'lab>> {
        let mut words = vec!["run", "--detach"];
        words.extend(options);
        words.extend([IMAGE, BUSYBOX, "sleep", "1000"]);
        let id = self.run(&words)?;
        let id = id.trim().to_owned();
        let format = "{{.NetworkSettings.IPAddress}}";
        let addr = self.run(&["inspect", "--format", format, &id])?;
        Ok(Container {
            docker: self,
            addr: addr.trim().parse()?,
            id,
        })
    }

    /// An image of one file, without a registry.
    fn import(&self) -> Result<()> {
        let script = format!(
            "mkdir -p /run/image/bin && cp {BUSYBOX} /run/image/bin/ && tar -C /run/image -c bin | \
             /usr/bin/docker --host unix:///run/docker.sock import - {IMAGE}"
        );
        self.host.place().cmd(["sh", "-ec", &script]).map(drop)
    }
}

impl Container<'_, '_> {
    /// Runs a busybox applet in the container.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let mut all = vec!["exec", self.id.as_str(), BUSYBOX];
        all.extend(words);
        self.docker.run(&all)
    }

    /// Pings an address from the container.
    ///
    /// # Errors
    /// When no answer comes within a second.
    pub fn ping(&self, to: IpAddr) -> Result<()> {
        self.run(&["ping", "-c", "1", "-W", "1", &to.to_string()])
            .map(drop)
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        let _ = self.run(&["ps", "--quiet"]).map(|ids| {
            for id in ids.split_whitespace() {
                let _ = self.run(&["rm", "--force", id]);
            }
        });
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
        remove_cgroups(&self.cgroup);
    }
}

/// Docker leaves the parent of its containers' control groups behind.
fn remove_cgroups(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    for folder in controllers.chain([PathBuf::from(root)]) {
        let _ = fs::remove_dir(folder.join(name));
    }
}

/// The options in a file that `tweedd docker-opts` wrote, as dockerd takes them.
///
/// # Errors
/// When it has no combined options.
pub fn options(text: &str) -> Result<Vec<String>> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("DOCKER_OPTS="))
        .with_context(|| format!("no DOCKER_OPTS in {text:?}"))?;
    let options: Vec<_> = line
        .trim_matches('"')
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    ensure!(!options.is_empty(), "no options in {line:?}");
    Ok(options)
}
