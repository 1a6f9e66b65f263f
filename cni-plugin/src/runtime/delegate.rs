//! Calling another plugin: in process if it is one of ours, else as a program of `CNI_PATH`.
//!
//! Ours is taken whatever lies in `CNI_PATH`, unless the configuration asks for the program with `"exec": true` beside
//! the `type`.

use std::fmt::Debug;
use std::io::{self, Write};

use ipnet::IpNet;
use serde_json::Value;

use crate::runtime::plugin::{Registry, Request, Row};
use crate::runtime::program;
use crate::runtime::removal::Removal;
use crate::runtime::role::{self, Role};
use crate::runtime::undo::Undo;
use crate::spec::{
    Attachment, Call, CniError, CniResult, Context, Kind, NetConf, Verb, Version, json, wire,
};

/// Another plugin, ready to be called with one configuration.
#[derive(Clone)]
pub(crate) struct Delegate {
    name: String,
    conf: NetConf,
    how: How,
    /// Whether the caller passes its whole work on to it, which errors then mention.
    is_whole: bool,
}

#[derive(Clone, Copy)]
enum How {
    InProcess(&'static Row),
    Program,
}

impl Delegate {
    /// The plugin that handles a whole configuration.
    ///
    /// # Errors
    /// When the configuration can't be read, or names a plugin that makes no interface.
    pub(crate) fn of_conf(plugins: Registry, value: Value) -> Result<Self, CniError> {
        let name = json::get_in(&value, "type").and_then(Value::as_str);
        let versions = name.and_then(|name| plugins.find(name));
        let versions = versions.map_or(Version::V0_1_0.and_newer(), |row| row.versions);
        let conf = NetConf::from_value(value, versions)?;
        let name = conf.plugin_type.clone();
        if !plugins.may_be(&name, Role::Interface) {
            let msg = format!("delegate.type is {name:?}, which makes no interface of its own");
            return Err(CniError::config(msg)
                .details("want bridge, or another plugin that attaches containers by itself"));
        }
        let exec = wants_program(json::get(&conf.raw, "exec"));
        Ok(Self {
            is_whole: true,
            ..Self::new(plugins, name, exec, conf)
        })
    }

    /// The plugin that hands out addresses, if the configuration names one. It gets the same configuration.
    ///
    /// # Errors
    /// When `ipam.type` is not a name, or that of a plugin for something else.
    pub(crate) fn of_ipam(request: &Request<'_>) -> Result<Option<Self>, CniError> {
        let (conf, plugins) = (request.conf, request.plugins);
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
        if !plugins.may_be(&name, Role::Addresses) {
            let msg = format!("ipam.type is {name:?}, which hands out no addresses");
            return Err(CniError::config(msg)
                .details("want host-local, static, dhcp or another IPAM plugin"));
        }
        let exec = wants_program(json::get(ipam, "exec"));
        Ok(Some(Self::new(plugins, name, exec, conf.clone())))
    }

    /// The same for a configuration with which no ADD can have succeeded: then there is nothing to release.
    pub(crate) fn of_ipam_if_any(request: &Request<'_>) -> Option<Self> {
        Self::of_ipam(request).ok().flatten()
    }

    /// A plugin of ours with a configuration that another one has made for it.
    pub(crate) fn of_name(plugins: Registry, name: &str, conf: NetConf) -> Self {
        Self::new(plugins, name.to_owned(), false, conf)
    }

    /// A plugin of ours that has no row in the table.
    pub(crate) fn of_row(row: &'static Row, conf: NetConf) -> Self {
        Self {
            name: row.name.to_owned(),
            conf,
            how: How::InProcess(row),
            is_whole: false,
        }
    }

    fn new(plugins: Registry, name: String, exec: bool, conf: NetConf) -> Self {
        let ours = plugins.find(&name).filter(|_| !exec);
        Self {
            name,
            conf,
            how: ours.map_or(How::Program, How::InProcess),
            is_whole: false,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Reads and checks its configuration: all keys of a plugin of ours, the common ones of a program.
    ///
    /// # Errors
    /// As [`Plugin::configuration`](crate::runtime::plugin::Plugin::configuration).
    pub(crate) fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        self.conf.check_types()?;
        match self.how {
            How::InProcess(row) => {
                self.conf.check_version(row.versions)?;
                row.plugin.configuration(&self.request(request))
            }
            How::Program => Ok(Box::new(())),
        }
    }

    /// Calls ADD.
    ///
    /// # Errors
    /// The plugin's own. What is to be taken back is in `undo`.
    pub(crate) fn add(
        &self,
        request: &Request<'_>,
        undo: &mut Undo,
    ) -> Result<CniResult, CniError> {
        match self.how {
            How::InProcess(row) => row.plugin.add(&self.request(request), undo),
            How::Program => self.run_add(request.call, undo),
        }
        .map_err(|error| self.explain(error, "add"))
    }

    fn run_add(&self, call: &Call, undo: &mut Undo) -> Result<CniResult, CniError> {
        program::find(&self.name, &call.path)?;
        // Also when it fails: a program may leave something.
        let (delegate, del) = (self.clone(), call.clone());
        undo.push(move || delegate.run(&del, Verb::Del).map(drop));
        let stdout = self.run(call, Verb::Add)?;
        let value = json::parse(&stdout).map_err(|error| {
            let msg = format!("plugin {} answered ADD with no result: {error}", self.name);
            CniError::new(Kind::Decode, msg)
        })?;
        wire::read(&value, self.conf.version).context(|| format!("result of plugin {}", self.name))
    }

    pub(crate) fn del(&self, request: &Request<'_>) -> Result<(), CniError> {
        match self.how {
            How::InProcess(row) => {
                Removal::of(|removal| row.plugin.del(&self.request(request), removal))
            }
            How::Program => self.run(request.call, Verb::Del).map(drop),
        }
        .map_err(|error| self.explain(error, "delete"))
    }

    pub(crate) fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        match self.how {
            How::InProcess(row) => row.plugin.check(&self.request(request)),
            How::Program => self.run(request.call, Verb::Check).map(drop),
        }
        .map_err(|error| self.explain(error, "check"))
    }

    pub(crate) fn gc(&self, request: &Request<'_>) -> Result<(), CniError> {
        match self.how {
            How::InProcess(row) => {
                Removal::of(|removal| row.plugin.gc(&self.request(request), removal))
            }
            How::Program => self.run(request.call, Verb::Gc).map(drop),
        }
        .map_err(|error| self.explain(error, "garbage collection"))
    }

    pub(crate) fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        match self.how {
            How::InProcess(row) => row.plugin.status(&self.request(request)),
            How::Program => self.run(request.call, Verb::Status).map(drop),
        }
    }

    /// As [`Plugin::may_hold`](crate::runtime::plugin::Plugin::may_hold). Of a program nothing is known.
    pub(crate) fn may_hold(&self, request: &Request<'_>, net: &IpNet) -> bool {
        match self.how {
            How::InProcess(row) => row.plugin.may_hold(&self.request(request), net),
            How::Program => true,
        }
    }

    /// As [`Plugin::holders`](crate::runtime::plugin::Plugin::holders). Of a program nothing is known.
    pub(crate) fn holders(&self, request: &Request<'_>) -> Vec<Attachment> {
        match self.how {
            How::InProcess(row) => row.plugin.holders(&self.request(request)),
            How::Program => Vec::new(),
        }
    }

    /// Whether it needs the container's interface, to release an address too.
    pub(crate) fn needs_interface(&self) -> bool {
        role::needs_interface(&self.name)
    }

    fn request<'r>(&'r self, request: &Request<'r>) -> Request<'r> {
        Request {
            conf: &self.conf,
            ..*request
        }
    }

    /// The same behind another plugin, whose result that is.
    pub(crate) fn following(&self, result: CniResult) -> Self {
        Self {
            conf: self.conf.following(result),
            ..self.clone()
        }
    }

    fn explain(&self, error: CniError, what: &str) -> CniError {
        match self.is_whole {
            true => error.context(format_args!("failed to delegate {what}")),
            false => error,
        }
    }

    fn run(&self, call: &Call, verb: Verb) -> Result<Vec<u8>, CniError> {
        let program = program::find(&self.name, &call.path)?;
        let stdin = self.conf.to_json()?.to_string();
        let output = program::run(&program, call, verb, stdin)
            .context(|| format!("run {}", program.display()))?;
        // The runtime shows what plugins print to stderr; what a delegate prints is no less of interest.
        let _ = io::stderr().write_all(&output.stderr);
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(program::error(&self.name, &output))
    }
}

fn wants_program(exec: Option<&Value>) -> bool {
    exec.and_then(Value::as_bool).unwrap_or(false)
}
