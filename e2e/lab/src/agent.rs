//! An agent on a host: started with flannel's flags, watched through its HTTP endpoint, its commands and the kernel.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tweed_model::{Dual, Family};

use crate::http;
use crate::launch::{Launch, NETWORK, NETWORK_V6};
use crate::topology::{Host, Lab};
use crate::wait::{eventually, timed};

/// A running (or ended) agent.
#[derive(Debug)]
pub struct Agent<'lab> {
    host: &'lab Host,
    launch: Launch,
    tweedd: PathBuf,
    child: Child,
    started: Instant,
}

/// Contents of `subnet.env`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetEnv {
    /// The first address of the own subnet with its length, per family.
    pub subnets: Dual<IpNet>,
    /// The pods' MTU.
    pub mtu: u32,
    /// The file as it stands.
    pub text: String,
}

impl<'lab> Agent<'lab> {
    /// Starts an agent.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(lab: &'lab Lab, host: &'lab Host, launch: &Launch) -> Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(host.log(&format!("tweedd{}", launch.suffix())))?;
        let mut command = launch.command(&lab.binaries.tweedd);
        command
            .args(Self::arguments(launch))
            .envs(launch.env.iter().cloned())
            .stdout(log.try_clone()?)
            .stderr(log);
        let started = Instant::now();
        let child = host.place().spawn(&mut command)?;
        Ok(Self {
            host,
            launch: launch.clone(),
            tweedd: lab.binaries.tweedd.clone(),
            child,
            started,
        })
    }

    /// The words after the program's name.
    pub(crate) fn arguments(launch: &Launch) -> Vec<String> {
        let own = [
            format!("--healthz-port={}", launch.port()),
            "--log-level=info,tweed=debug".to_owned(),
        ];
        let mut words = vec!["run".to_owned()];
        words.extend_from_slice(launch.store_args());
        words.extend(launch.host_args());
        words.extend(own);
        words.extend_from_slice(&launch.extra);
        words
    }

    /// Starts an agent on every host of the lab and waits until all are ready and know each other.
    ///
    /// # Errors
    /// When one does not become ready.
    pub fn everywhere(lab: &'lab Lab, launch: &Launch) -> Result<Vec<Self>> {
        let mut agents = lab
            .hosts
            .iter()
            .map(|host| Self::start(lab, host, launch))
            .collect::<Result<Vec<_>>>()?;
        for agent in &mut agents {
            agent.ready()?;
        }
        for agent in &agents {
            agent.sees(agents.len() - 1)?;
        }
        Ok(agents)
    }

    /// The host it runs on.
    pub fn host(&self) -> &'lab Host {
        self.host
    }

    /// Process id, as seen from outside of its namespaces.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `/readyz` says so; gives the time since the start.
    ///
    /// # Errors
    /// When it ends, or does not become ready.
    pub fn ready(&mut self) -> Result<Duration> {
        let name = self.host.name();
        eventually(&format!("the agent on {name} is ready"), || {
            let (status, body) = self.get("/readyz")?;
            ensure!(status == 200, "/readyz answers {status}: {body}");
            Ok(())
        })
        .with_context(|| match self.child.try_wait() {
            Ok(Some(status)) => format!("the agent on {name} has ended with {status}"),
            _ => format!("the agent on {name} runs"),
        })?;
        Ok(self.started.elapsed())
    }

    /// Waits until the kernel has a route for this many peers; with a data plane of its own the agent has their routes.
    ///
    /// # Errors
    /// When it never has.
    pub fn sees(&self, peers: usize) -> Result<()> {
        let families = self.subnet_env()?.subnets;
        if self.status()?["data_plane"].is_object() {
            let what = format!("the agent on {} has {peers} peers", self.host.name());
            return eventually(&what, || {
                let status = self.status()?;
                ensure!(status["peers"] == peers, "{status}");
                Ok(())
            });
        }
        for (family, _) in families.iter() {
            let what = format!("{} has {peers} {family} peers", self.host.name());
            eventually(&what, || {
                let routes = peer_routes(self.host, family)?;
                ensure!(routes.len() == peers, "there are {routes:?}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Asks the agent's HTTP endpoint.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        http::get(self.host.place(), self.launch.port(), path)
    }

    /// The value of a metric, labels included in `name` as they are printed.
    ///
    /// # Errors
    /// When there is no such metric.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics")?;
        let line = text
            .lines()
            .find(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(' '))
            })
            .with_context(|| format!("no metric {name} in\n{text}"))?;
        let value = line.rsplit(' ').next().context("a metric has a value")?;
        Ok(value.parse()?)
    }

    /// Runs one of the commands that speak to a running agent or look at the kernel: `status`, `plan`, `cleanup`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn command(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.tweedd);
        command
            .args(words)
            .args(self.launch.store_args())
            .args(self.launch.host_args());
        self.host.place().output(&mut command, "")
    }

    /// Runs one of the commands that speak to the store only: `leases`, `config`.
    ///
    /// # Errors
    /// When it fails.
    pub fn store_command(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.tweedd);
        command.args(words).args(self.launch.store_args());
        self.host.place().cmd_with(&mut command, "")
    }

    /// `tweedd status --output json`, whatever its exit code.
    ///
    /// # Errors
    /// When it prints no JSON.
    pub fn status(&self) -> Result<Value> {
        let output = self.command(&["status", "--output", "json"])?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "status prints {:?} and {:?}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Contents of `subnet.env`.
    ///
    /// # Errors
    /// When it isn't there or makes no sense.
    pub fn subnet_env(&self) -> Result<SubnetEnv> {
        let path = self.host.path(self.launch.subnet_file());
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        parse_subnet_env(text)
    }

    /// The pod subnet of one family, as a network.
    ///
    /// # Errors
    /// When `subnet.env` has none.
    pub fn subnet(&self, family: Family) -> Result<IpNet> {
        let env = self.subnet_env()?;
        let net = env
            .subnets
            .get(family)
            .with_context(|| format!("no {family} subnet in {:?}", env.text))?;
        Ok(net.trunc())
    }

    /// Everything the agent has logged on this host.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let path = self.host.log(&format!("tweedd{}", self.launch.suffix()));
        Ok(fs::read_to_string(path)?)
    }

    /// Waits until the log has a line with all of these words; gives the line.
    ///
    /// # Errors
    /// When it never has.
    pub fn logged(&self, words: &[&str]) -> Result<String> {
        eventually(&format!("the log says {words:?}"), || {
            self.log()?
                .lines()
                .find(|line| words.iter().all(|word| line.contains(word)))
                .map(str::to_owned)
                .context("it does not")
        })
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("a pid fits")?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }

    /// Asks it to end with SIGTERM; gives how it ended and how long that took.
    ///
    /// # Errors
    /// When it does not end.
    pub fn terminate(&mut self) -> Result<(ExitStatus, Duration)> {
        self.signal(Signal::SIGTERM)?;
        self.ended(Duration::from_secs(10))
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// When it has already ended.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let (status, _) = self.ended(Duration::from_secs(10))?;
        match status.signal() {
            Some(9) => Ok(()),
            _ => bail!("the agent had already ended with {status}"),
        }
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn ended(&mut self, limit: Duration) -> Result<(ExitStatus, Duration)> {
        let child = &mut self.child;
        timed("the agent ends", limit, || {
            child.try_wait()?.context("it runs")
        })
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads `subnet.env` as a shell would source it.
fn parse_subnet_env(text: String) -> Result<SubnetEnv> {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    let mut subnets = Dual::default();
    for (family, key) in [
        (Family::V4, "FLANNEL_SUBNET"),
        (Family::V6, "FLANNEL_IPV6_SUBNET"),
    ] {
        subnets.set(family, value(key).map(str::parse).transpose()?);
    }
    let mtu = value("FLANNEL_MTU")
        .with_context(|| format!("no MTU in {text:?}"))?
        .parse()?;
    Ok(SubnetEnv { subnets, mtu, text })
}

/// Destinations of the routes to other nodes' subnets, whatever the backend.
///
/// # Errors
/// When `ip` fails.
pub fn peer_routes(host: &Host, family: Family) -> Result<Vec<IpNet>> {
    let (command, network) = match family {
        Family::V4 => ("ip -4 route show", NETWORK),
        Family::V6 => ("ip -6 route show", NETWORK_V6),
    };
    let network: IpNet = network.parse()?;
    Ok(host
        .sh(command)?
        .lines()
        .filter(|line| line.contains(" via "))
        .filter_map(|line| line.split(' ').next()?.parse::<IpNet>().ok())
        .filter(|dst| network.contains(dst))
        .collect())
}
