//! Running another program: found as every runtime finds it, fed, and not waited for without end.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tweed_host::bounded_file::{self, MIB};

use crate::spec::call::DEPTH;
use crate::spec::{Call, CniError, Kind, Verb, json};

/// How long a plugin may take. Runtimes give the whole chain two to four minutes.
const DEADLINE: Duration = Duration::from_secs(60);

/// How much of what a program prints is taken, in bytes.
const OUTPUT_LIMIT: usize = 8 * MIB;

/// The first regular file of that name in the folders of `CNI_PATH`.
///
/// # Errors
/// When there is none, or the name can't be that of a plugin.
pub(crate) fn find(name: &str, path: &[PathBuf]) -> Result<PathBuf, CniError> {
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

/// Runs a plugin with the environment that we got, and with the verb that is wanted.
///
/// # Errors
/// When it can't be started, or doesn't end in time.
pub(crate) fn run(program: &Path, call: &Call, verb: Verb, stdin: String) -> io::Result<Output> {
    let child = Command::new(program)
        .env("CNI_COMMAND", verb.name())
        .env(DEPTH, (call.depth + 1).to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    finish(child, stdin, DEADLINE)
}

/// Feeds a child and waits for its end up to the deadline. Takes no more of its output than a result can have.
///
/// # Errors
/// With the kind `TimedOut` if it doesn't end in time; it is then killed.
pub(crate) fn finish(mut child: Child, stdin: String, deadline: Duration) -> io::Result<Output> {
    let pid = Pid::from_raw(child.id().try_into().map_err(io::Error::other)?);
    let mut pipe = child.stdin.take();
    let (sender, receiver) = mpsc::channel();
    let named = |name: &str| thread::Builder::new().name(name.to_owned());
    // A program may end without reading its configuration; that its pipe then breaks is not our error.
    let feeder = named("program-stdin").spawn(move || {
        if let Some(pipe) = pipe.as_mut() {
            let _ = pipe.write_all(stdin.as_bytes());
        }
    })?;
    named("program-wait").spawn(move || sender.send(collect(child)))?;
    let output = receiver.recv_timeout(deadline).unwrap_or_else(|_| {
        // With what it has started, where it leads a group of its own.
        let _ = killpg(pid, Signal::SIGKILL);
        let _ = kill(pid, Signal::SIGKILL);
        let msg = format!("no end after {} s, killed", deadline.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, msg))
    })?;
    let _ = feeder.join();
    Ok(output)
}

/// The error of a plugin that has failed: its error object, or what it said otherwise.
pub(crate) fn error(name: &str, output: &Output) -> CniError {
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
    CniError::failed(format!("plugin {name} failed ({}) {reason}", output.status))
}

/// The output of a child until it ends. One that prints too much finds its pipe broken.
fn collect(mut child: Child) -> io::Result<Output> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stderr = thread::Builder::new()
        .name("program-stderr".to_owned())
        .spawn(move || read(stderr))?;
    let stdout = read(stdout);
    let stderr = stderr.join().unwrap_or_else(|_| Ok(Vec::new()));
    let status = child.wait()?;
    let (stdout, stderr) = (stdout?, stderr?);
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

fn read(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    pipe.map_or_else(
        || Ok(Vec::new()),
        |pipe| bounded_file::read_stream(pipe, OUTPUT_LIMIT),
    )
}
