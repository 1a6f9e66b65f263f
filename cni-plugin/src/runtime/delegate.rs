//! Calling another plugin: in process when it is one of ours, else as a program of `CNI_PATH`.
//!
//! Ours is taken whatever lies in `CNI_PATH`, unless the configuration asks for the program with `"exec": true` beside
//! the `type`. A program gets the environment that we got, with the verb that is wanted.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tweed_overlay::bounded_file::{self, MIB};

use crate::plugins;
use crate::runtime::plugin::Plugin;
use crate::runtime::registry::{self, Role};
use crate::spec::call::DEPTH;
use crate::spec::{Call, CniError, CniResult, Context, Kind, NetConf, Verb, json, wire};

/// How long a program may take. Runtimes give the whole chain two to four minutes.
const DEADLINE: Duration = Duration::from_secs(60);

/// How much of what a program prints is taken, in bytes.
const SAYS_AT_MOST: usize = 8 * MIB;

/// Another plugin, ready to be called with one configuration.
pub(crate) struct Delegate {
    name: String,
    conf: NetConf,
    how: How,
}

enum How {
    InProcess(&'static dyn Plugin),
    Program,
}

impl Delegate {
    /// The plugin that handles a whole configuration.
    ///
    /// # Errors
    /// When the configuration can't be read, or names a plugin that makes no interface.
    pub(crate) fn of_conf(value: Value) -> Result<Self, CniError> {
        let conf = NetConf::from_value(value)?;
        let name = &conf.plugin_type;
        if !Self::may_attach(name) {
            let msg = format!("delegate.type is {name:?}, which makes no interface of its own");
            return Err(CniError::config(msg)
                .details("want bridge, or another plugin that attaches containers by itself"));
        }
        let exec = wants_program(json::get(&conf.raw, "exec"));
        let name = conf.plugin_type.clone();
        Ok(Self::new(name, exec, conf))
    }

    /// Whether a plugin of this name may be one that attaches containers.
    pub(crate) fn may_attach(name: &str) -> bool {
        may_be(name, Role::Interface)
    }

    /// The plugin that hands out addresses, if the configuration names one. It gets the same configuration.
    ///
    /// # Errors
    /// When `ipam.type` is not a name, or that of a plugin for something else.
    pub(crate) fn of_ipam(conf: &NetConf) -> Result<Option<Self>, CniError> {
        let Some(ipam) = json::get(&conf.raw, "ipam").and_then(Value::as_object) else {
            return Ok(None);
        };
        let name = match json::get(ipam, "type") {
            None => return Ok(None),
            Some(Value::String(name)) => name.clone(),
            Some(other) => {
                return Err(CniError::config(format!(
                    "ipam.type is {other}, want a name"
                )));
            }
        };
        if name.is_empty() {
            return Ok(None);
        }
        if !may_be(&name, Role::Addresses) {
            let msg = format!("ipam.type is {name:?}, which hands out no addresses");
            return Err(CniError::config(msg)
                .details("want host-local, static, dhcp or another IPAM plugin"));
        }
        let exec = wants_program(json::get(ipam, "exec"));
        Ok(Some(Self::new(name, exec, conf.clone())))
    }

    /// The same for a configuration with which no ADD can have succeeded: then there is nothing to release.
    pub(crate) fn of_ipam_if_any(conf: &NetConf) -> Option<Self> {
        Self::of_ipam(conf).ok().flatten()
    }

    fn new(name: String, exec: bool, conf: NetConf) -> Self {
        let ours = plugins::find(&name).filter(|_| !exec);
        Self {
            name,
            conf,
            how: ours.map_or(How::Program, How::InProcess),
        }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Checks its configuration, as far as we know what it reads.
    ///
    /// # Errors
    /// As [`Plugin::configuration`].
    pub(crate) fn check_types(&self, call: &Call) -> Result<(), CniError> {
        self.conf.check_types()?;
        match self.how {
            How::InProcess(plugin) => plugin.configuration(call, &self.conf).map(|_| ()),
            How::Program => Ok(()),
        }
    }

    /// Calls ADD. If that fails, nothing is left: our own plugins see to it, a program is told to DEL.
    ///
    /// # Errors
    /// The plugin's own.
    pub(crate) fn add(&self, call: &Call) -> Result<CniResult, CniError> {
        match self.how {
            How::InProcess(plugin) => plugin.add(call, &self.conf),
            How::Program => self
                .run_add(call)
                .map_err(|error| match self.run(call, Verb::Del) {
                    Ok(_) => error,
                    Err(undo) => error.details(format!("and DEL failed: {undo}")),
                }),
        }
    }

    fn run_add(&self, call: &Call) -> Result<CniResult, CniError> {
        let stdout = self.run(call, Verb::Add)?;
        let value = json::parse(&stdout).map_err(|error| {
            let msg = format!("plugin {} answered ADD with no result: {error}", self.name);
            CniError::new(Kind::Decode, msg)
        })?;
        wire::read(&value, self.conf.version).context(|| format!("result of plugin {}", self.name))
    }

    /// Calls a verb that has no result.
    ///
    /// # Errors
    /// The plugin's own.
    pub(crate) fn call(&self, call: &Call, verb: Verb) -> Result<(), CniError> {
        match (&self.how, verb) {
            (How::Program, _) => self.run(call, verb).map(|_| ()),
            (How::InProcess(plugin), Verb::Del) => plugin.del(call, &self.conf),
            (How::InProcess(plugin), Verb::Check) => plugin.check(call, &self.conf),
            (How::InProcess(plugin), Verb::Gc) => plugin.gc(call, &self.conf),
            (How::InProcess(plugin), Verb::Status) => plugin.status(call, &self.conf),
            (How::InProcess(_), Verb::Add | Verb::Version) => Ok(()),
        }
    }

    fn run(&self, call: &Call, verb: Verb) -> Result<Vec<u8>, CniError> {
        let program = find_program(&self.name, &call.path)?;
        let stdin = Value::Object(self.conf.raw.clone()).to_string();
        let what = || format!("run {}", program.display());
        let child = Command::new(&program)
            .env("CNI_COMMAND", verb.name())
            .env(DEPTH, (call.depth + 1).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(what)?;
        let output = finish(child, stdin, DEADLINE).context(what)?;
        // The runtime shows what plugins say on stderr; what a delegate says is no less of interest.
        let _ = io::stderr().write_all(&output.stderr);
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(self.failure(&output))
    }

    fn failure(&self, output: &Output) -> CniError {
        if let Some(error) = json::parse(&output.stdout)
            .ok()
            .as_ref()
            .and_then(CniError::from_json)
        {
            return error;
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let reason = match stderr.trim() {
            "" => "with no error message".to_owned(),
            text => format!("saying {text:?}"),
        };
        CniError::failed(format!(
            "plugin {} failed ({}) {reason}",
            self.name, output.status
        ))
    }
}

/// Whether a plugin of this name may have that role. What nobody knows may be anything.
fn may_be(name: &str, role: Role) -> bool {
    registry::role(name).is_none_or(|known| known == role)
}

fn wants_program(exec: Option<&Value>) -> bool {
    exec.and_then(Value::as_bool).unwrap_or(false)
}

/// The first regular file of that name, as every runtime looks for it.
fn find_program(name: &str, path: &[PathBuf]) -> Result<PathBuf, CniError> {
    if name.is_empty() {
        return Err(CniError::config("no plugin name provided"));
    }
    if name.contains('/') || name == "." || name == ".." {
        return Err(CniError::config(format!("invalid plugin name: {name}")));
    }
    if path.is_empty() {
        return Err(CniError::new(Kind::Environment, "no paths provided")
            .details(format!("CNI_PATH is empty, {name} is not built in")));
    }
    path.iter()
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            let dirs: Vec<_> = path.iter().map(|dir| dir.to_string_lossy()).collect();
            let msg = format!(
                "failed to find plugin {name:?} in path [{}]",
                dirs.join(" ")
            );
            CniError::failed(msg)
        })
}

/// Feeds a child and waits for its end, but not for ever, and takes no more of what it says than a result can have.
pub(crate) fn finish(mut child: Child, stdin: String, deadline: Duration) -> io::Result<Output> {
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().map_err(io::Error::other)?);
    let mut pipe = child.stdin.take();
    let (sender, receiver) = mpsc::channel();
    let named = |name: &str| thread::Builder::new().name(name.to_owned());
    // A program may end without reading its configuration; that its pipe then breaks is not our error.
    let feeder = named("delegate-stdin").spawn(move || {
        if let Some(pipe) = pipe.as_mut() {
            let _ = pipe.write_all(stdin.as_bytes());
        }
    })?;
    named("delegate-wait").spawn(move || sender.send(hear(child)))?;
    let output = receiver.recv_timeout(deadline).unwrap_or_else(|_| {
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        let msg = format!("no end after {} s, killed", deadline.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, msg))
    })?;
    let _ = feeder.join();
    Ok(output)
}

/// What a child says until it ends. One that goes on for too long finds its pipe broken.
fn hear(mut child: Child) -> io::Result<Output> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stderr = thread::Builder::new()
        .name("delegate-stderr".to_owned())
        .spawn(move || most_of(stderr))?;
    let stdout = most_of(stdout);
    let stderr = stderr.join().unwrap_or_else(|_| Ok(Vec::new()));
    let status = child.wait()?;
    let (stdout, stderr) = (stdout?, stderr?);
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

fn most_of(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    pipe.map_or_else(
        || Ok(Vec::new()),
        |pipe| bounded_file::read_stream(pipe, SAYS_AT_MOST),
    )
}
