//! The network configuration on stdin: what all plugins share. What one plugin alone reads is in that plugin.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::call::{Verb, is_identifier};
use super::error::{CniError, Kind};
use super::json;
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
    /// The network's name.
    pub(crate) name: String,
    /// The plugin that the configuration asks for.
    pub(crate) plugin_type: String,
}

/// What a runtime or an orchestrator may add for one container.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Dynamic {
    /// `runtimeConfig`.
    pub(crate) runtime: Requests,
    /// `args.cni`.
    pub(crate) args: Requests,
}

/// Wishes for one container.
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

/// A container and interface that GC must keep.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct AttachmentKey {
    /// The container.
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    /// The interface in it.
    pub(crate) ifname: String,
}

/// The head of a configuration, as far as it is needed to say anything about it.
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
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ipam {
    r#type: String,
    exec: bool,
}

impl NetConf {
    /// Reads what came on stdin.
    ///
    /// # Errors
    /// In this order: not JSON, a version that we don't speak, a name that is missing or malformed.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, CniError> {
        let value = json::parse(bytes).map_err(|error| decode(&error))?;
        Self::from_value(value)
    }

    /// The same from a configuration that an upper plugin has built.
    ///
    /// # Errors
    /// As [`NetConf::parse`].
    pub(crate) fn from_value(value: Value) -> Result<Self, CniError> {
        let head: Head = json::read(&value).map_err(|error| decode(&error))?;
        let Value::Object(raw) = value else {
            return Err(decode(&"not a JSON object"));
        };
        let version = Version::parse(&head.cni_version).ok_or_else(|| {
            let msg = "incompatible CNI versions";
            CniError::new(Kind::IncompatibleVersion, msg).details(format!(
                "config is {:?}, plugin supports {}",
                head.cni_version,
                Version::list()
            ))
        })?;
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
        })
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
    pub(crate) fn valid_attachments(&self) -> Result<Vec<AttachmentKey>, CniError> {
        let list = json::get(&self.raw, "cni.dev/valid-attachments")
            .or_else(|| json::get(&self.raw, "cni.dev/attachments"))
            .ok_or_else(|| {
                CniError::config("GC without cni.dev/valid-attachments: nothing was removed")
            })?;
        json::read(list).map_err(|error| decode(&error).context("cni.dev/valid-attachments"))
    }
}

fn decode(error: &dyn std::fmt::Display) -> CniError {
    CniError::new(
        Kind::Decode,
        format!("error unmarshall network config: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failure(text: &str) -> (u32, String) {
        let error = NetConf::parse(text.as_bytes()).unwrap_err();
        (error.kind.code(), error.to_string())
    }

    fn conf(text: &str) -> NetConf {
        NetConf::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_wrong_is_said_in_the_order_of_the_rules() {
        assert_eq!(failure("{").0, 6);
        assert_eq!(failure("[]").0, 6);
        assert_eq!(
            failure(r#"{"cniVersion":"9.9.9"}"#),
            (
                1,
                format!(
                    "incompatible CNI versions; config is \"9.9.9\", plugin supports {}",
                    Version::list()
                )
            )
        );
        assert_eq!(failure("{}"), (7, "missing network name".to_owned()));
        assert_eq!(
            failure(r#"{"name":"a/b"}"#),
            (
                7,
                "invalid characters found in network name; a/b".to_owned()
            )
        );
    }

    #[test]
    fn no_version_means_the_first() {
        assert_eq!(conf(r#"{"name":"n"}"#).version, Version::V0_1_0);
    }

    #[test]
    fn verbs_that_the_version_does_not_have_are_refused() {
        for (version, verb, allowed) in [
            ("0.3.1", Verb::Check, false),
            ("0.4.0", Verb::Check, true),
            ("1.0.0", Verb::Gc, false),
            ("1.0.0", Verb::Status, false),
            ("1.1.0", Verb::Gc, true),
            ("0.1.0", Verb::Add, true),
        ] {
            let conf = conf(&format!(r#"{{"name":"n","cniVersion":"{version}"}}"#));
            assert_eq!(conf.allows(verb).is_ok(), allowed, "{version} {verb:?}");
        }
    }

    #[test]
    fn a_previous_result_must_have_the_version_of_the_configuration() {
        let of = |version: &str| {
            conf(&format!(
                r#"{{"name":"n","cniVersion":"1.0.0","prevResult":{{{version}"ips":[{{"address":"10.0.0.2/24"}}]}}}}"#
            ))
        };
        assert_eq!(of("").prev_result().unwrap().unwrap().ips.len(), 1);
        assert!(of(r#""cniVersion":"1.0.0","#).prev_result().is_ok());
        assert!(of(r#""cniVersion":"0.4.0","#).prev_result().is_err());
        assert!(conf(r#"{"name":"n"}"#).prev_result().unwrap().is_none());
    }

    #[test]
    fn a_missing_list_of_attachments_is_not_an_empty_one() {
        assert!(conf(r#"{"name":"n"}"#).valid_attachments().is_err());
        let empty = conf(r#"{"name":"n","cni.dev/valid-attachments":[]}"#);
        assert_eq!(empty.valid_attachments().unwrap(), []);
        let one =
            conf(r#"{"name":"n","cni.dev/attachments":[{"containerID":"c","ifname":"eth0"}]}"#);
        assert_eq!(one.valid_attachments().unwrap()[0].container_id, "c");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = NetConf::parse(&bytes);
        }

        #[test]
        fn no_value_under_a_known_key_makes_the_reader_panic(
            key in "name|cniVersion|type|args|runtimeConfig|prevResult|cni.dev/valid-attachments",
            value in "null|1|1e400|\"x\"|\\[\\]|\\{\\}|\\[\\{\\}\\]|\\{\"cni\":3\\}|\\{\"ips\":\\[null\\]\\}",
        ) {
            let text = format!(r#"{{"name":"n","cniVersion":"1.1.0","{key}":{value}}}"#);
            if let Ok(conf) = NetConf::parse(text.as_bytes()) {
                let _ = conf.prev_result();
                let _ = conf.valid_attachments();
            }
        }
    }
}
