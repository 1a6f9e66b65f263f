//! The verbs over a list of plugins: each in its turn, with what the one before resulted in.

use serde_json::{Map, Value, json};

use super::cache::Cache;
use super::endpoint::Endpoint;
use super::failure::{Failure, Reason};
use super::input;
use super::list::{Entry, NetworkList};
use super::programs::Programs;
use crate::spec::call::validate;
use crate::spec::{Attachment, Verb, Version, json, wire};

/// A network that containers can be attached to.
pub(crate) struct Network<'a> {
    pub(crate) list: &'a NetworkList,
    pub(crate) programs: &'a Programs,
    pub(crate) cache: &'a Cache,
}

impl Network<'_> {
    /// Attaches: each plugin gets the result of the one before. The last one's is kept and answered.
    ///
    /// # Errors
    /// The first plugin's that failed. What the ones before did stays.
    pub(crate) fn add(&self, endpoint: &Endpoint) -> Result<Value, Failure> {
        validate(&endpoint.key)?;
        let mut result = None;
        for entry in &self.list.plugins {
            let printed = self.call(Verb::Add, entry, endpoint, result.as_ref())?;
            let printed = self.result(&printed);
            result = Some(printed.map_err(|failure| failure.context(about(Verb::Add, entry)))?);
        }
        // A list has at least one plugin.
        let result = result.unwrap_or_default();
        self.cache.keep(self.list, endpoint, &result)?;
        Ok(result)
    }

    /// Detaches: in the reverse order, each plugin with the kept result.
    ///
    /// # Errors
    /// The first plugin's that failed. The result is kept then, for another attempt.
    pub(crate) fn del(&self, endpoint: &Endpoint) -> Result<(), Failure> {
        validate(&endpoint.key)?;
        // One that can't be read is none.
        let kept = match self.list.version >= Version::V0_4_0 {
            true => self.kept(endpoint).unwrap_or_default(),
            false => None,
        };
        for entry in self.list.plugins.iter().rev() {
            self.call(Verb::Del, entry, endpoint, kept.as_ref())?;
        }
        self.cache.forget(&self.list.name, &endpoint.key)
    }

    /// Compares with the kept result.
    ///
    /// # Errors
    /// The first plugin's that failed.
    pub(crate) fn check(&self, endpoint: &Endpoint) -> Result<(), Failure> {
        validate(&endpoint.key)?;
        let version = self.list.version;
        if version < Version::V0_4_0 {
            let msg = format!("{} is {version}, CHECK needs 0.4.0", self.list.name);
            return Err(Failure::network(msg));
        }
        if self.list.disable_check {
            return Ok(());
        }
        let kept = self.kept(endpoint)?;
        let mut entries = self.list.plugins.iter();
        entries.try_for_each(|entry| {
            self.call(Verb::Check, entry, endpoint, kept.as_ref())
                .map(drop)
        })
    }

    /// Detaches these, then has each plugin remove what belongs to no valid attachment. Without a list of valid ones
    /// plugins get none.
    ///
    /// # Errors
    /// All that failed.
    pub(crate) fn gc(
        &self,
        stale: &[Endpoint],
        valid: Option<&[Attachment]>,
    ) -> Result<(), Failure> {
        if self.list.disable_gc {
            return Ok(());
        }
        let mut failures = Vec::new();
        for endpoint in stale {
            let removed = self.del(endpoint);
            failures.extend(
                removed
                    .map_err(|failure| failure.context(&endpoint.key))
                    .err(),
            );
        }
        if self.list.version >= Version::V1_1_0 {
            for entry in &self.list.plugins {
                let stdin = input::of_network(self.list, entry, valid);
                failures.extend(self.run(Verb::Gc, entry, None, &stdin).err());
            }
        }
        Failure::join(failures)
    }

    /// Whether containers can be attached now.
    ///
    /// # Errors
    /// The first plugin's that says no.
    pub(crate) fn status(&self) -> Result<(), Failure> {
        if self.list.version < Version::V1_1_0 {
            return Ok(());
        }
        let mut entries = self.list.plugins.iter();
        entries.try_for_each(|entry| {
            let stdin = input::of_network(self.list, entry, None);
            self.run(Verb::Status, entry, None, &stdin).map(drop)
        })
    }

    /// What the plugins are and speak.
    ///
    /// # Errors
    /// When one is missing, or doesn't speak the version of the list.
    pub(crate) fn versions(&self) -> Result<Value, Failure> {
        let mut rows = Vec::new();
        let mut failures = Vec::new();
        for entry in &self.list.plugins {
            let name = &entry.program;
            let spoken = self.programs.versions(name);
            let Ok(spoken) = spoken.map_err(|failure| failures.push(failure)) else {
                continue;
            };
            let wanted = self.list.version.name();
            if !spoken.iter().any(|version| version == wanted) {
                let msg = format!("plugin {name} does not speak {wanted}, but {spoken:?}");
                failures.push(Failure::new(Reason::NoPlugin, msg));
            }
            rows.push(json!({
                "type": name, "path": self.programs.find(name)?.to_string_lossy(), "supportedVersions": spoken,
                "capabilities": entry.capabilities,
            }));
        }
        Failure::join(failures)?;
        let (name, version) = (&self.list.name, self.list.version.name());
        Ok(json!({"name": name, "cniVersion": version, "plugins": rows}))
    }

    fn call(
        &self,
        verb: Verb,
        entry: &Entry,
        endpoint: &Endpoint,
        prev: Option<&Value>,
    ) -> Result<Vec<u8>, Failure> {
        let stdin = input::of_attachment(self.list, entry, prev, &endpoint.given.values);
        self.run(verb, entry, Some(endpoint), &stdin)
    }

    fn run(
        &self,
        verb: Verb,
        entry: &Entry,
        endpoint: Option<&Endpoint>,
        stdin: &str,
    ) -> Result<Vec<u8>, Failure> {
        self.programs
            .run(&entry.program, verb, endpoint, stdin)
            .map_err(|failure| failure.context(about(verb, entry)))
    }

    /// A plugin's result as its version has it. One without a version has the list's.
    fn result(&self, printed: &[u8]) -> Result<Value, Failure> {
        let value = match json::parse(printed) {
            Ok(Value::Null) => Ok(Value::Object(Map::new())),
            value => value,
        };
        let value = value.map_err(|error| {
            Failure::new(Reason::Other, format!("it printed no result: {error}"))
        })?;
        let version = json::get_in(&value, "cniVersion").and_then(Value::as_str);
        let version = version.filter(|text| !text.is_empty());
        let version = version.map_or(Some(self.list.version), Version::parse);
        let result = wire::read(&value, self.list.version)?;
        Ok(wire::render(&result, version.unwrap_or(self.list.version))?)
    }

    /// The kept result in the list's version.
    fn kept(&self, endpoint: &Endpoint) -> Result<Option<Value>, Failure> {
        let kept = self.cache.of(&self.list.name, &endpoint.key);
        let Some(result) = kept.and_then(|kept| kept.result) else {
            return Ok(None);
        };
        let result = wire::read(&result, Version::V0_1_0)
            .map_err(|error| error.context("the kept result"))?;
        Ok(Some(wire::render(&result, self.list.version)?))
    }
}

fn about(verb: Verb, entry: &Entry) -> String {
    format!("{} of plugin {}", verb.name(), entry.program)
}
