//! The contract between a runtime and a plugin process: environment and stdin in, one JSON document and an exit code
//! out. Everything is checked before anything is done.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tweed_host::bounded_file::{self, MIB};

use crate::net::unlink;
use crate::runtime::panics;
use crate::runtime::plugin::{Registry, Request, Row};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::error::reason;
use crate::spec::{Call, CniError, Kind, NetConf, Verb, Version, wire};

/// The release of the reference plugins whose behaviour ours have. Callers such as Nomad look for a version in the
/// description that a plugin prints, and take the first one.
const COMPATIBLE_WITH: &str = "v1.9.1";

/// The longest configuration that is read, in bytes. A list of 10,000 valid attachments has one.
const LONGEST: usize = 8 * MIB;

/// What a process is started with.
pub(crate) struct Process<'a, E> {
    /// The path it was called by.
    pub(crate) argv0: &'a OsStr,
    pub(crate) env: E,
    /// The network configuration.
    pub(crate) stdin: &'a mut dyn Read,
    /// For the result, or the error.
    pub(crate) stdout: &'a mut dyn Write,
    /// For the description, if there is no verb.
    pub(crate) stderr: &'a mut dyn Write,
    /// The plugins that it may be.
    pub(crate) plugins: Registry,
}

/// Runs one verb and answers the exit code.
pub(crate) fn run<E: Fn(&str) -> Option<OsString>>(process: Process<'_, E>) -> u8 {
    let verb = (process.env)("CNI_COMMAND").unwrap_or_default();
    let verb = verb.to_string_lossy();
    let name = Path::new(process.argv0).file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    let plugins = process.plugins;
    let row = plugins.find(&name);
    let versions = row.map_or(Version::V0_1_0.and_newer(), |row| row.versions);
    // Operators start plugins by hand to see their versions.
    if verb.is_empty() {
        let about = about(&name, versions, plugins);
        return exit_code(process.stderr.write_all(about.as_bytes()));
    }
    // Needs nothing from stdin, and must not block on it.
    if verb == Verb::Version.name() {
        let reply = format!("{}\n", Version::reply(versions));
        return exit_code(print(process.stdout, &reply));
    }
    let mut version = Version::NEWEST;
    let output = Call::from_env(&verb, &process.env).and_then(|call| {
        let conf = read_conf(process.stdin, versions)?;
        version = conf.version;
        panics::set_version(version);
        conf.allows(call.verb)?;
        let row = row.ok_or_else(|| not_ours(&name, plugins))?;
        let request = Request {
            call: &call,
            conf: &conf,
            plugins,
        };
        execute(row, &request)
    });
    match output {
        Ok(text) => exit_code(print(process.stdout, &text)),
        Err(error) => {
            let text = wire::pretty(&error.to_json(version.name()));
            // The exit code reports the failure even if the text can't be written.
            let _ = print(process.stdout, &text);
            1
        }
    }
}

/// What is not flushed may be lost at the end without an error.
fn print(stdout: &mut dyn Write, text: &str) -> std::io::Result<()> {
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn about(name: &str, versions: &[Version], plugins: Registry) -> String {
    let versions: Vec<&str> = versions.iter().map(|version| version.name()).collect();
    format!(
        "CNI {name} plugin compatible with {COMPATIBLE_WITH} (tweed {})\nCNI protocol versions supported: {}\n{}",
        tweed_model::VERSION,
        versions.join(", "),
        match plugins.find(name) {
            Some(_) => String::new(),
            None => format!("no plugin: {}\n", unknown(name, plugins)),
        }
    )
}

fn read_conf(stdin: &mut dyn Read, versions: &[Version]) -> Result<NetConf, CniError> {
    let bytes = bounded_file::read_stream(stdin, LONGEST).map_err(|error| {
        CniError::new(
            Kind::Io,
            format!("error reading from stdin: {}", reason(&error)),
        )
    })?;
    NetConf::parse(&bytes, versions)
}

/// Runs the verb as one transaction and answers what goes to stdout. The result is rendered before anything is printed,
/// so that there is one document whatever happens. A result that can't be rendered undoes the ADD, since the runtime
/// gets none.
fn execute(row: &Row, request: &Request<'_>) -> Result<String, CniError> {
    let (plugin, call, conf) = (row.plugin, request.call, request.conf);
    refuse_own_netns(call)?;
    if matches!(call.verb, Verb::Add | Verb::Check | Verb::Status) {
        conf.check_types()?;
        plugin.configuration(request)?;
    }
    match call.verb {
        Verb::Add => {
            let rendered = Undo::default().attempt(|undo| {
                let result = plugin.add(request, undo)?;
                wire::render(&result, conf.version)
            })?;
            return Ok(wire::pretty(&rendered));
        }
        Verb::Del => Removal::of(|removal| {
            let deleted = plugin.del(request, removal);
            removal.step(deleted);
            unlink::finish(call)
        })?,
        Verb::Check => plugin.check(request)?,
        Verb::Gc => Removal::of(|removal| plugin.gc(request, removal))?,
        Verb::Status => plugin.status(request)?,
        Verb::Version => {}
    }
    Ok(String::new())
}

/// The name in `argv[0]` alone decides. If the configuration's type did, a link to this binary under the name of a foreign
/// plugin would make it call itself without end.
fn not_ours(name: &str, plugins: Registry) -> CniError {
    CniError::config(format!("{name:?} is not a plugin of this binary"))
        .details(unknown(name, plugins))
}

fn unknown(name: &str, plugins: Registry) -> String {
    format!(
        "it answers to {}: have the file or link {name:?} bear one of these names, as `tweedd install-cni` does",
        plugins.names()
    )
}

/// A runtime that hands us the host's namespace would have us delete the host's interface. A path that can't be opened
/// is left to the plugin.
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
