//! A real etcd in the switch's namespace, and `etcdctl`, by which scenarios read and write it.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;

use crate::topology::Lab;
use crate::wait::eventually;

/// Flannel's default prefix.
pub const PREFIX: &str = "/coreos.com/network";
/// The port of etcd's clients.
pub const PORT: u16 = 2379;
/// Where its data are, and a copy of them.
const DATA: &str = "/var/lib/etcd/lab";
const COPY: &str = "/var/lib/etcd/lab.copy";

/// A running (or stopped) etcd.
#[derive(Debug)]
pub struct Etcd<'lab> {
    lab: &'lab Lab,
    child: Option<Child>,
    options: Vec<String>,
}

impl<'lab> Etcd<'lab> {
    /// Starts an empty etcd.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(lab: &'lab Lab) -> Result<Self> {
        Self::start_with(lab, &[])
    }

    /// Starts an empty etcd with further options.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_with(lab: &'lab Lab, options: &[&str]) -> Result<Self> {
        let mut etcd = Self {
            lab,
            child: None,
            options: options.iter().map(|&option| option.to_owned()).collect(),
        };
        etcd.resume()?;
        Ok(etcd)
    }

    /// Where agents find it.
    pub fn endpoint() -> String {
        let addr = Lab::gateway(0).v4.expect("segment 0 has IPv4");
        format!("http://{addr}:{PORT}")
    }

    /// Starts it again with the data it had.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn resume(&mut self) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.lab.folder.path().join("etcd.log"))?;
        let mut command = Command::new("etcd");
        command
            .args(["--name", "lab", "--data-dir", DATA])
            .arg(format!("--listen-client-urls=http://0.0.0.0:{PORT}"))
            .arg(format!("--advertise-client-urls={}", Self::endpoint()))
            .args(["--listen-peer-urls", "http://127.0.0.1:2380"])
            .args(["--initial-advertise-peer-urls", "http://127.0.0.1:2380"])
            .args(["--initial-cluster", "lab=http://127.0.0.1:2380"])
            .args(["--heartbeat-interval", "20", "--election-timeout", "200"])
            .args(["--logger", "zap", "--log-level", "warn"])
            .args(&self.options)
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(self.lab.switch.place().spawn(&mut command)?);
        eventually("etcd answers", || self.probe())
    }

    /// Stops it; its data stay.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn stop(&mut self) -> Result<()> {
        let mut child = self.child.take().context("etcd is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Copies its data, while it is stopped.
    ///
    /// # Errors
    /// When they can't be copied.
    pub fn keep_copy(&self) -> Result<()> {
        self.copy(DATA, COPY)
    }

    /// Puts back what was copied, while it is stopped.
    ///
    /// # Errors
    /// When there is no copy.
    pub fn put_back_copy(&self) -> Result<()> {
        self.copy(COPY, DATA)
    }

    fn copy(&self, from: &str, to: &str) -> Result<()> {
        let place = self.lab.switch.place();
        place.sh(&format!("rm -rf {to}"))?;
        place.sh(&format!("cp -a {from} {to}")).map(drop)
    }

    /// Suspends its process, or resumes it.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn freeze(&self, on: bool) -> Result<()> {
        let child = self.child.as_ref().context("etcd is not running")?;
        let signal = if on { Signal::SIGSTOP } else { Signal::SIGCONT };
        signal::kill(Pid::from_raw(child.id().cast_signed()), signal)?;
        Ok(())
    }

    /// Runs `etcdctl` and gives its output.
    ///
    /// # Errors
    /// When it fails.
    pub fn ctl(&self, words: &[&str]) -> Result<String> {
        self.ctl_with(words, "")
    }

    /// Runs `etcdctl` with this input.
    ///
    /// # Errors
    /// When it fails.
    pub fn ctl_with(&self, words: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints=http://127.0.0.1:{PORT}"))
            .args(words);
        self.lab.switch.place().cmd_with(&mut command, input)
    }

    /// Writes a key.
    ///
    /// # Errors
    /// When etcd refuses.
    pub fn put(&self, key: &str, value: &str) -> Result<()> {
        self.ctl(&["put", "--", key, value]).map(drop)
    }

    /// Writes the network configuration at the default prefix.
    ///
    /// # Errors
    /// When etcd refuses.
    pub fn put_config(&self, config: &Value) -> Result<()> {
        self.put(&format!("{PREFIX}/config"), &config.to_string())
    }

    /// Deletes a key; one that isn't there is an error, since a scenario that deletes nothing shows nothing.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn delete(&self, key: &str) -> Result<()> {
        match self.ctl(&["del", "--", key])?.trim() {
            "1" => Ok(()),
            other => bail!("deleting {key} removed {other:?} keys"),
        }
    }

    /// Keys and values under `<prefix>/subnets/`, keys without that prefix.
    ///
    /// # Errors
    /// When etcd cannot be reached.
    pub fn leases(&self, prefix: &str) -> Result<Vec<(String, Value)>> {
        let folder = format!("{prefix}/subnets/");
        let output = self.ctl(&["get", "--prefix", &folder])?;
        let lines: Vec<_> = output.lines().collect();
        lines
            .chunks_exact(2)
            .map(|pair| {
                let key = pair[0].strip_prefix(&folder).unwrap_or(pair[0]);
                let value = serde_json::from_str(pair[1])
                    .with_context(|| format!("value of {}: {}", pair[0], pair[1]))?;
                Ok((key.to_owned(), value))
            })
            .collect()
    }

    /// The key of the lease that a host with this public address holds at the default prefix.
    ///
    /// # Errors
    /// When it holds none, or several.
    pub fn lease_of(&self, public: IpAddr) -> Result<(String, Value)> {
        let field = if public.is_ipv4() {
            "PublicIP"
        } else {
            "PublicIPv6"
        };
        let mut own: Vec<_> = self
            .leases(PREFIX)?
            .into_iter()
            .filter(|(_, value)| value[field] == public.to_string())
            .collect();
        match (own.pop(), own.len()) {
            (Some(lease), 0) => Ok(lease),
            (Some(_), more) => bail!("{public} holds {} leases", more + 1),
            (None, _) => bail!("{public} holds no lease"),
        }
    }

    /// Fields of a key that `etcdctl` shows in JSON: `create_revision`, `mod_revision`, `lease`.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn meta(&self, key: &str) -> Result<Value> {
        let text = self.ctl(&["get", "-w", "json", "--", key])?;
        let answer: Value = serde_json::from_str(&text)?;
        let kv = answer["kvs"].get(0).cloned();
        kv.with_context(|| format!("there is no key {key}"))
    }

    /// Forgets every revision before the present one, so that watches from earlier ones are refused.
    ///
    /// # Errors
    /// When etcd refuses.
    pub fn compact(&self) -> Result<()> {
        let text = self.ctl(&["get", "-w", "json", "--", "anything"])?;
        let answer: Value = serde_json::from_str(&text)?;
        let revision = answer["header"]["revision"]
            .as_u64()
            .context("no revision")?;
        self.ctl(&["compact", "--physical=true", &revision.to_string()])
            .map(drop)
    }

    fn probe(&self) -> Result<()> {
        self.lab.switch.place().run(|| {
            let addr: SocketAddr = ([127, 0, 0, 1], PORT).into();
            TcpStream::connect_timeout(&addr, Duration::from_secs(1))?;
            Ok(())
        })?;
        self.ctl(&["endpoint", "health"]).map(drop)
    }
}

impl Drop for Etcd<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
