//! A list of plugins as a runtime calls it: one after the other with the result of the one before, DEL backwards.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Plugins of one folder.
#[derive(Clone)]
pub(super) struct Chain {
    folder: String,
    plugins: Vec<Value>,
}

/// A started plugin.
pub(super) struct Started {
    child: Child,
    what: String,
}

impl Chain {
    pub(super) fn new(folder: &str, plugins: Vec<Value>) -> Self {
        Self {
            folder: folder.to_owned(),
            plugins,
        }
    }

    /// The same with a key of each configuration.
    pub(super) fn with(&self, key: &str, value: Value) -> Self {
        let mut chain = self.clone();
        for plugin in &mut chain.plugins {
            plugin[key] = value.clone();
        }
        chain
    }

    /// Attaches a pod; how long the plugins took, and the result of the last one.
    ///
    /// # Errors
    /// When one fails.
    pub(super) fn add(&self, netns: &str) -> Result<(Duration, Value)> {
        let (mut took, mut result) = (Duration::ZERO, Value::Null);
        for plugin in &self.plugins {
            let (taken, output) = timed(|| self.start("ADD", plugin, netns, &result))?;
            took += taken;
            result = serde_json::from_slice(&output.stdout).context("a result of ADD")?;
        }
        Ok((took, result))
    }

    /// Detaches it; how long the plugins took.
    ///
    /// # Errors
    /// When one fails.
    pub(super) fn del(&self, netns: &str, result: &Value) -> Result<Duration> {
        let mut took = Duration::ZERO;
        for plugin in self.plugins.iter().rev() {
            took += timed(|| self.start("DEL", plugin, netns, result))?.0;
        }
        Ok(took)
    }

    /// Starts the only plugin for several pods at once, and waits for all.
    ///
    /// # Errors
    /// When one fails.
    pub(super) fn at_once(&self, verb: &str, pods: &[String]) -> Result<Duration> {
        let [plugin] = self.plugins.as_slice() else {
            anyhow::bail!("a list of {} plugins", self.plugins.len());
        };
        let begin = Instant::now();
        let started = pods.iter();
        let started = started.map(|netns| self.start(verb, plugin, netns, &Value::Null));
        let started: Vec<Started> = started.collect::<Result<_>>()?;
        for one in started {
            one.end()?;
        }
        Ok(begin.elapsed())
    }

    fn start(&self, verb: &str, plugin: &Value, netns: &str, prev: &Value) -> Result<Started> {
        let mut conf = plugin.clone();
        conf["cniVersion"] = json!("1.0.0");
        conf["name"] = json!("bench");
        if !prev.is_null() {
            conf["prevResult"] = prev.clone();
        }
        let name = plugin["type"].as_str().context("a plugin has a type")?;
        let mut command = Command::new(format!("{}/{name}", self.folder));
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", netns)
            .env("CNI_NETNS", format!("/run/netns/{netns}"))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.folder);
        Started::new(&mut command, &conf.to_string())
    }
}

impl Started {
    /// Starts a program with this on stdin.
    ///
    /// # Errors
    /// When it can't be started.
    pub(super) fn new(command: &mut Command, input: &str) -> Result<Self> {
        let what = format!("{command:?}");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| what.clone())?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that needs none may have ended.
            let _ = stdin.write_all(input.as_bytes());
        }
        Ok(Self { child, what })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it failed.
    pub(super) fn end(self) -> Result<Output> {
        let output = self.child.wait_with_output()?;
        let what = &self.what;
        ensure!(output.status.success(), "{what}: {output:?}");
        Ok(output)
    }
}

/// Runs a program; from its start to its end.
///
/// # Errors
/// When it failed.
pub(super) fn timed(start: impl FnOnce() -> Result<Started>) -> Result<(Duration, Output)> {
    let begin = Instant::now();
    let output = start()?.end()?;
    Ok((begin.elapsed(), output))
}
