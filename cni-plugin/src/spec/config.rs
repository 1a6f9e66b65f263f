//! The network configuration on stdin: what all plugins share. What one plugin alone reads is in that plugin.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::call::{Attachment, Verb, is_identifier};
use super::error::{CniError, Kind};
use super::json;
use super::repeated::repeated;
use super::result::{CniResult, Dns};
use super::version::Version;
use super::wire;

/// A plugin's configuration: its own keys, and what the runtime put in.
#[derive(Clone, Debug)]
pub(crate) struct NetConf {
    /// The object as it came. Delegates get it whole.
    pub(crate) raw: Map<String, Value>,
    /// The version that results and errors must have.
    pub(crate) version: Version,
    pub(crate) name: String,
    /// The plugin that the configuration asks for.
    pub(crate) plugin_type: String,
    /// The first key that the object `sysctl` has twice.
    pub(crate) repeated_sysctl: Option<String>,
    /// The result of the plugin before, if that ran in this process.
    prev: Option<CniResult>,
}

/// What a runtime or an orchestrator may add for one container.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Dynamic {
    /// `runtimeConfig`.
    pub(crate) runtime: Requests,
    /// `args.cni`.
    pub(crate) args: Requests,
}

/// What is requested for one container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Requests {
    /// The hardware address that the container should have.
    pub(crate) mac: Option<String>,
    /// Addresses that it should have; a prefix length is ignored.
    pub(crate) ips: Vec<String>,
    /// Range sets that go before the configured ones.
    pub(crate) ip_ranges: Vec<Vec<Value>>,
}

/// The keys that are read first.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Head {
    cni_version: String,
    name: String,
    r#type: String,
}

/// Values of capabilities, and `args.cni`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FromOthers {
    runtime_config: Requests,
    args: ArgsObject,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ArgsObject {
    cni: Requests,
}

/// What every plugin of the reference reads, though it may use none of it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Common {
    capabilities: BTreeMap<String, Option<bool>>,
    ipam: Ipam,
    dns: Dns,
    args: Map<String, Value>,
    runtime_config: Map<String, Value>,
    prev_result: Map<String, Value>,
    exec: bool,
    state_dir: String,
    fast_del: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ipam {
    r#type: String,
    exec: bool,
}

impl NetConf {
    /// Reads what came on stdin for a plugin that speaks these versions.
    ///
    /// # Errors
    /// In this order: not JSON, a version that the plugin doesn't speak, a name that is missing or malformed.
    pub(crate) fn parse(bytes: &[u8], versions: &[Version]) -> Result<Self, CniError> {
        let value = json::parse(bytes).map_err(|error| decode(&error))?;
        let mut conf = Self::from_value(value, versions)?;
        if json::get(&conf.raw, "sysctl").is_some() {
            conf.repeated_sysctl = repeated(bytes, "sysctl");
        }
        Ok(conf)
    }

    /// The same from a configuration that an upper plugin has built.
    ///
    /// # Errors
    /// As [`NetConf::parse`].
    pub(crate) fn from_value(value: Value, versions: &[Version]) -> Result<Self, CniError> {
        let head: Head = json::read(&value).map_err(|error| decode(&error))?;
        let Value::Object(raw) = value else {
            return Err(decode(&"not a JSON object"));
        };
        let version = Version::parse(&head.cni_version).filter(|given| versions.contains(given));
        let version = version.ok_or_else(|| incompatible(&head.cni_version, versions))?;
        if head.name.is_empty() {
            return Err(CniError::config("missing network name"));
        }
        if !is_identifier(&head.name) {
            let error = CniError::config("invalid characters found in network name");
            return Err(error.details(head.name));
        }
        Ok(Self {
            raw,
            version,
            name: head.name,
            plugin_type: head.r#type,
            repeated_sysctl: None,
            prev: None,
        })
    }

    /// The same for a plugin that comes behind another one, whose result that is.
    pub(crate) fn following(&self, result: CniResult) -> Self {
        Self {
            prev: Some(result),
            ..self.clone()
        }
    }

    /// The configuration as another program reads it.
    ///
    /// # Errors
    /// When the version can't express the result of the plugin before.
    pub(crate) fn to_json(&self) -> Result<Value, CniError> {
        let mut raw = self.raw.clone();
        if let Some(result) = &self.prev {
            json::take(&mut raw, "prevResult");
            raw.insert("prevResult".into(), wire::render(result, self.version)?);
        }
        Ok(raw.into())
    }

    /// Checks the types of the keys that all plugins share. Not at once, since DEL and GC must do with what they get.
    ///
    /// # Errors
    /// The first key whose value has another type.
    pub(crate) fn check_types(&self) -> Result<(), CniError> {
        self.read::<Common>().map(|_| ())
    }

    /// What was added for this container.
    ///
    /// # Errors
    /// When a value has another type than its key.
    pub(crate) fn dynamic(&self) -> Result<Dynamic, CniError> {
        let added: FromOthers = self.read()?;
        Ok(Dynamic {
            runtime: added.runtime_config,
            args: added.args.cni,
        })
    }

    /// Checks that another plugin, which gets the same configuration, speaks its version.
    ///
    /// # Errors
    /// When it doesn't.
    pub(crate) fn check_version(&self, versions: &[Version]) -> Result<(), CniError> {
        match versions.contains(&self.version) {
            true => Ok(()),
            false => Err(incompatible(self.version.name(), versions)),
        }
    }

    /// Whether the configuration's version has the verb at all.
    ///
    /// # Errors
    /// When it is too old.
    pub(crate) fn allows(&self, verb: Verb) -> Result<(), CniError> {
        let since = match verb {
            Verb::Check => Version::V0_4_0,
            Verb::Gc | Verb::Status => Version::V1_1_0,
            Verb::Add | Verb::Del | Verb::Version => return Ok(()),
        };
        if self.version >= since {
            return Ok(());
        }
        let msg = format!("config version does not allow {}", verb.name());
        Err(
            CniError::new(Kind::IncompatibleVersion, msg).details(format!(
                "config is {}, {} needs {since}",
                self.version,
                verb.name()
            )),
        )
    }

    /// The keys of one plugin.
    ///
    /// # Errors
    /// When a value has another type than its key.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, CniError> {
        json::read(&Value::Object(self.raw.clone())).map_err(|error| decode(&error))
    }

    /// What the plugins before this one, or the whole chain, resulted in.
    ///
    /// # Errors
    /// When it can't be read, or has another version than the configuration.
    pub(crate) fn prev_result(&self) -> Result<Option<CniResult>, CniError> {
        if self.prev.is_some() {
            return Ok(self.prev.clone());
        }
        let Some(value) = json::get(&self.raw, "prevResult") else {
            return Ok(None);
        };
        let said = value
            .get("cniVersion")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !said.is_empty() && said != self.version.name() {
            let msg = format!(
                "result type supports [{}] but unmarshalled CNIVersion is {said:?}",
                self.version
            );
            return Err(CniError::new(Kind::Decode, msg).context("could not parse prevResult"));
        }
        wire::read(value, self.version)
            .map(Some)
            .map_err(|error| error.context("could not parse prevResult"))
    }

    /// The result that CHECK compares with.
    ///
    /// # Errors
    /// When there is none, or it can't be read.
    pub(crate) fn required_prev_result(&self) -> Result<CniResult, CniError> {
        self.prev_result()?
            .ok_or_else(|| CniError::config("Required prevResult missing"))
    }

    /// The attachments that GC must keep. Absence is an error: it must never read as "none is valid".
    ///
    /// # Errors
    /// When the list is missing or malformed.
    pub(crate) fn valid_attachments(&self) -> Result<Vec<Attachment>, CniError> {
        let list = json::get(&self.raw, "cni.dev/valid-attachments")
            .or_else(|| json::get(&self.raw, "cni.dev/attachments"))
            .ok_or_else(|| {
                CniError::config("GC without cni.dev/valid-attachments: nothing was removed")
            })?;
        json::read(list).map_err(|error| decode(&error).context("cni.dev/valid-attachments"))
    }
}

fn incompatible(given: &str, versions: &[Version]) -> CniError {
    let msg = "incompatible CNI versions";
    CniError::new(Kind::IncompatibleVersion, msg).details(format!(
        "config is {given:?}, plugin supports {}",
        Version::list(versions)
    ))
}

fn decode(error: &dyn std::fmt::Display) -> CniError {
    CniError::new(
        Kind::Decode,
        format!("error unmarshall network config: {error}"),
    )
}

#[cfg(test)]
mod tests;
