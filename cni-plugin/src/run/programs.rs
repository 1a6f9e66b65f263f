//! The plugins' programs: found in `CNI_PATH` as every runtime finds them, and run with the full environment.
//!
//! A plugin is always a process of its own, ours too: what is tried by hand is then the file that a runtime would run,
//! and one that hangs can be ended. One of ours that is in none of the folders is run from this binary.

use std::env;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::failure::{Failure, Reason};
use crate::runtime::plugin::Registry;
use crate::runtime::program;
use crate::spec::{Verb, json};

/// This binary, also when the file has been replaced.
const OURSELVES: &str = "/proc/self/exe";

/// How often a program that is just being written is tried, a second apart.
const ATTEMPTS: u8 = 6;

pub(crate) struct Programs {
    /// The folders of `CNI_PATH`.
    pub(crate) path: Vec<PathBuf>,
    /// How long a plugin may take.
    pub(crate) deadline: Duration,
    pub(crate) ours: Registry,
}

impl Programs {
    /// The file that is run for a plugin.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn find(&self, name: &str) -> Result<PathBuf, Failure> {
        program::find(name, &self.path).or_else(|error| match self.ours.find(name) {
            Some(_) => Ok(PathBuf::from(OURSELVES)),
            None => Err(Failure::new(
                Reason::NoPlugin,
                format!("{error}; put it there, or name its folder in CNI_PATH"),
            )),
        })
    }

    /// Runs a verb of a plugin and answers what it prints.
    ///
    /// # Errors
    /// When there is no such program, it reports an error, or it doesn't end in time.
    pub(crate) fn run(
        &self,
        name: &str,
        verb: Verb,
        endpoint: Option<&Endpoint>,
        stdin: &str,
    ) -> Result<Vec<u8>, Failure> {
        let file = self.find(name)?;
        let output = self
            .execute(&file, name, verb, endpoint, stdin)
            .map_err(|error| {
                let reason = match error.kind() {
                    io::ErrorKind::TimedOut => Reason::Deadline,
                    _ => Reason::NoPlugin,
                };
                Failure::new(reason, format!("run {}: {error}", file.display()))
            })?;
        let _ = io::stderr().write_all(&output.stderr);
        if output.status.success() {
            return Ok(output.stdout);
        }
        let error = program::error(name, &output);
        Err(Failure::new(Reason::Plugin(error.kind.code()), error))
    }

    /// The versions of the specification that a plugin speaks.
    ///
    /// # Errors
    /// When it doesn't say.
    pub(crate) fn versions(&self, name: &str) -> Result<Vec<String>, Failure> {
        let stdin = "{\"cniVersion\":\"1.1.0\"}";
        let stdout = match self.run(name, Verb::Version, None, stdin) {
            // The first plugins have no such verb.
            Err(failure) if failure.to_string() == "unknown CNI_COMMAND: VERSION" => {
                return Ok(vec!["0.1.0".to_owned()]);
            }
            stdout => stdout?,
        };
        let answer = json::parse(&stdout).unwrap_or_default();
        let versions = json::get_in(&answer, "supportedVersions").cloned();
        let versions: Option<Vec<String>> = versions.and_then(|list| json::read(&list).ok());
        versions.ok_or_else(|| {
            let text = String::from_utf8_lossy(&stdout);
            let msg = format!("VERSION has no supportedVersions: {:?}", text.trim());
            Failure::new(Reason::Other, msg)
        })
    }

    fn execute(
        &self,
        file: &Path,
        name: &str,
        verb: Verb,
        endpoint: Option<&Endpoint>,
        stdin: &str,
    ) -> io::Result<Output> {
        // Old plugins ask for these also where the verb needs none.
        let unused = if verb == Verb::Version { "dummy" } else { "" };
        let of = |text: fn(&Endpoint) -> &str| endpoint.map_or(unused, text);
        let mut command = Command::new(file);
        command
            .env("CNI_COMMAND", verb.name())
            .env(
                "CNI_CONTAINERID",
                endpoint.map_or("", |it| &it.key.container_id),
            )
            .env("CNI_NETNS", of(|it| &it.netns))
            .env("CNI_IFNAME", of(|it| &it.key.ifname))
            .env(
                "CNI_ARGS",
                endpoint.map_or_else(String::new, |it| it.given.args.to_string()),
            )
            .env(
                "CNI_PATH",
                env::join_paths(&self.path).map_err(io::Error::other)?,
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What it has started is ended with it.
            .process_group(0);
        if file == Path::new(OURSELVES) {
            command.arg0(name);
        }
        let mut attempt = 1;
        let child = loop {
            match command.spawn() {
                Err(error)
                    if error.kind() == io::ErrorKind::ExecutableFileBusy && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                    thread::sleep(Duration::from_secs(1));
                }
                child => break child?,
            }
        };
        program::finish(child, stdin.to_owned(), self.deadline)
    }
}
