//! The contract between a runtime and a plugin process: environment and stdin in, one JSON document and an exit code
//! out. Everything is checked before anything is done.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tweed_overlay::bounded_file::{self, MIB};

use crate::plugins;
use crate::runtime::panics;
use crate::runtime::plugin::Plugin;
use crate::spec::error::reason;
use crate::spec::{Call, CniError, Kind, NetConf, Verb, Version, wire};

/// The release of the reference plugins whose behaviour ours have. Callers such as Nomad look for a version in what
/// plugins say of themselves, and take the first one that they find.
const COMPATIBLE_WITH: &str = "v1.9.1";

/// The longest configuration that is read, in bytes. A list of 10,000 valid attachments has one.
const LONGEST: usize = 8 * MIB;

/// What a process is started with.
pub(crate) struct Process<'a, E> {
    /// The path it was called by.
    pub(crate) argv0: &'a OsStr,
    /// Its environment.
    pub(crate) env: E,
    /// The network configuration.
    pub(crate) stdin: &'a mut dyn Read,
    /// For the result, or the error.
    pub(crate) stdout: &'a mut dyn Write,
    /// For people.
    pub(crate) stderr: &'a mut dyn Write,
}

/// Runs one verb and answers the exit code.
pub(crate) fn run<E: Fn(&str) -> Option<OsString>>(process: Process<'_, E>) -> u8 {
    let verb = (process.env)("CNI_COMMAND").unwrap_or_default();
    let verb = verb.to_string_lossy();
    let name = Path::new(process.argv0).file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    // People call plugins by hand to see what they are.
    if verb.is_empty() {
        return exit_code(process.stderr.write_all(about(&name).as_bytes()));
    }
    // Not worth reading stdin for, and not worth blocking on it.
    if verb == Verb::Version.name() {
        let reply = format!("{}\n", Version::reply());
        return exit_code(print(process.stdout, &reply));
    }
    let mut version = Version::NEWEST;
    let output = Call::from_env(&verb, &process.env).and_then(|call| {
        let conf = read_conf(process.stdin)?;
        version = conf.version;
        panics::say_version(version);
        execute(&name, &call, &conf)
    });
    match output {
        Ok(text) => exit_code(print(process.stdout, &text)),
        Err(error) => {
            let text = wire::pretty(&error.to_json(version.name()));
            // The exit code says it even if nobody reads the text.
            let _ = print(process.stdout, &text);
            1
        }
    }
}

/// What is not flushed may be lost at the end without a word.
fn print(stdout: &mut dyn Write, text: &str) -> std::io::Result<()> {
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn about(name: &str) -> String {
    let versions: Vec<&str> = Version::ALL.iter().map(|version| version.name()).collect();
    format!(
        "CNI {name} plugin compatible with {COMPATIBLE_WITH} (tweed {})\nCNI protocol versions supported: {}\n{}",
        env!("CARGO_PKG_VERSION"),
        versions.join(", "),
        match plugins::find(name) {
            Some(_) => String::new(),
            None => format!("no plugin: {}\n", unknown(name)),
        }
    )
}

fn read_conf(stdin: &mut dyn Read) -> Result<NetConf, CniError> {
    let bytes = bounded_file::read_stream(stdin, LONGEST).map_err(|error| {
        CniError::new(
            Kind::Io,
            format!("error reading from stdin: {}", reason(&error)),
        )
    })?;
    NetConf::parse(&bytes)
}

/// Runs the verb and answers what goes to stdout. The result is rendered before anything is printed, so that there is
/// one document whatever happens.
fn execute(name: &str, call: &Call, conf: &NetConf) -> Result<String, CniError> {
    conf.allows(call.verb)?;
    let plugin = select(name)?;
    refuse_own_netns(call)?;
    if matches!(call.verb, Verb::Add | Verb::Check | Verb::Status) {
        conf.check_types()?;
        plugin.configuration(call, conf)?;
    }
    match call.verb {
        Verb::Add => {
            let result = plugin.add(call, conf)?;
            let value = wire::render(&result, conf.version).map_err(|error| {
                // Nobody will ever hear of this attachment.
                match plugin.del(call, conf) {
                    Ok(()) => error,
                    Err(undo) => error.context(format_args!("{undo} (while undoing)")),
                }
            })?;
            return Ok(wire::pretty(&value));
        }
        Verb::Del => plugin.del(call, conf)?,
        Verb::Check => plugin.check(call, conf)?,
        Verb::Gc => plugin.gc(call, conf)?,
        Verb::Status => plugin.status(call, conf)?,
        Verb::Version => {}
    }
    Ok(String::new())
}

/// By the name that we were called by, and by nothing else: were the configuration's type asked, a link to this binary
/// under the name of somebody else's plugin would have us call ourselves without end.
fn select(name: &str) -> Result<&'static dyn Plugin, CniError> {
    plugins::find(name).ok_or_else(|| {
        CniError::config(format!("{name:?} is not a plugin of this binary")).details(unknown(name))
    })
}

fn unknown(name: &str) -> String {
    format!(
        "it answers to {}: have the file or link {name:?} bear one of these names, as `tweedd install-cni` does",
        plugins::names()
    )
}

/// A runtime that hands us the host's namespace would have us delete the host's interface. A path that can't be opened
/// is the plugin's to judge.
fn refuse_own_netns(call: &Call) -> Result<(), CniError> {
    let Some(path) = call.netns.as_deref().filter(|_| !call.own_netns_allowed) else {
        return Ok(());
    };
    let id = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    let own = Path::new("/proc/thread-self/ns/net");
    if !matches!((id(path), id(own)), (Ok(theirs), Ok(ours)) if theirs == ours) {
        return Ok(());
    }
    let msg = "plugin's netns and netns from CNI_NETNS should not be the same";
    Err(CniError::new(Kind::Namespace, msg).details(format!(
        "CNI_NETNS is {}; CNI_NETNS_OVERRIDE=1 allows it",
        path.display()
    )))
}

fn exit_code(written: std::io::Result<()>) -> u8 {
    u8::from(written.is_err())
}
