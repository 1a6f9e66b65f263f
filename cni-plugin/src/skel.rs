//! The contract between a runtime and a plugin process: environment and stdin in, one JSON document and an exit code
//! out. Everything is checked before anything is done.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::plugin::{PLUGINS, Plugin, find};
use crate::spec::error::reason;
use crate::spec::{Call, CniError, Kind, NetConf, Verb, Version, wire};

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
        return exit_code(writeln!(process.stdout, "{}", Version::reply()));
    }
    let mut version = Version::NEWEST;
    let output = Call::from_env(&verb, &process.env).and_then(|call| {
        let conf = read_conf(process.stdin)?;
        version = conf.version;
        execute(&name, &call, &conf)
    });
    match output {
        Ok(text) => exit_code(process.stdout.write_all(text.as_bytes())),
        Err(error) => {
            let text = wire::pretty(&error.to_json(version.name()));
            // The exit code says it even if nobody reads the text.
            let _ = process.stdout.write_all(text.as_bytes());
            1
        }
    }
}

fn about(name: &str) -> String {
    let versions: Vec<&str> = Version::ALL.iter().map(|version| version.name()).collect();
    format!(
        "CNI Plugin {name} {}\nCNI protocol versions supported: {}\n",
        env!("CARGO_PKG_VERSION"),
        versions.join(", ")
    )
}

fn read_conf(stdin: &mut dyn Read) -> Result<NetConf, CniError> {
    let mut bytes = Vec::with_capacity(8192);
    stdin.read_to_end(&mut bytes).map_err(|error| {
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
    let plugin = select(name, &conf.plugin_type)?;
    refuse_own_netns(call)?;
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

/// By the name that we were called by, else by the configuration's type.
fn select(name: &str, plugin_type: &str) -> Result<&'static dyn Plugin, CniError> {
    find(name).or_else(|| find(plugin_type)).ok_or_else(|| {
        let names: Vec<&str> = PLUGINS.iter().map(|(known, _)| *known).collect();
        CniError::config(format!(
            "neither {name:?} nor type {plugin_type:?} is a plugin of this binary"
        ))
        .details(format!("it has {}", names.join(", ")))
    })
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
