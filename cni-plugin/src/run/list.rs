//! The configuration of a network: a list of plugins. Read as libcni does, which every runtime in Go has.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::go_json;
use crate::spec::call::is_identifier;
use crate::spec::{Version, json};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NetworkList {
    pub(crate) name: String,
    /// The newest that both the list and we have.
    pub(crate) version: Version,
    /// The same as plugins get it: a list without a version gives them an empty one.
    pub(crate) version_text: &'static str,
    /// CHECK calls no plugin.
    pub(crate) disable_check: bool,
    /// GC removes nothing and calls no plugin.
    pub(crate) disable_gc: bool,
    /// No plugins of other files join the list.
    pub(crate) only_inlined: bool,
    pub(crate) plugins: Vec<Entry>,
    /// What the file has. It is cached with each result.
    pub(crate) bytes: Vec<u8>,
}

/// A plugin of a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Its `type`, which is the name of its program.
    pub(crate) program: String,
    pub(crate) conf: Map<String, Value>,
    /// What it takes of the runtime's values.
    pub(crate) capabilities: Vec<String>,
}

impl NetworkList {
    /// Reads a `.conflist`. It may have no plugins yet: those of other files join it.
    ///
    /// # Errors
    /// What the list lacks, or has and shouldn't.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Result<Self, Failure> {
        let list = object(&bytes)?;
        let name = text(&list, "name")?.unwrap_or_default();
        if !is_identifier(name) {
            let wanted = "want letters, digits, `_`, `.` and `-`, a letter or digit first";
            return Err(Failure::network(format!("name is {name:?}: {wanted}")));
        }
        let only_inlined = flag(&list, "loadOnlyInlinedPlugins")?;
        let plugins = match json::get(&list, "plugins") {
            None if only_inlined => {
                let msg = "loadOnlyInlinedPlugins is true, and there are no plugins";
                return Err(Failure::network(msg));
            }
            None => Vec::new(),
            Some(Value::Array(plugins)) if !plugins.is_empty() => plugins
                .iter()
                .enumerate()
                .map(|(index, conf)| {
                    let entry = Entry::from_value(conf.clone());
                    entry.map_err(|failure| failure.context(format!("plugins[{index}]")))
                })
                .collect::<Result<_, _>>()?,
            Some(other) => {
                let msg = format!("plugins is {other}, want a list of at least one");
                return Err(Failure::network(msg));
            }
        };
        let version = version(&list)?;
        let is_said = text(&list, "cniVersion")?.is_some_and(|text| !text.is_empty());
        Ok(Self {
            name: name.to_owned(),
            version,
            version_text: match is_said || json::get(&list, "cniVersions").is_some() {
                true => version.name(),
                false => "",
            },
            disable_check: flag(&list, "disableCheck")?,
            disable_gc: flag(&list, "disableGC")?,
            only_inlined,
            plugins,
            bytes,
        })
    }

    /// Reads the configuration of a single plugin, the older form, as a list of one.
    ///
    /// # Errors
    /// As [`NetworkList::from_bytes`].
    pub(crate) fn from_single(bytes: &[u8]) -> Result<Self, Failure> {
        let conf = object(bytes)?;
        Entry::from_value(Value::Object(conf.clone()))?;
        let list = json!({
            "cniVersion": text(&conf, "cniVersion")?.unwrap_or_default(),
            "name": text(&conf, "name")?.unwrap_or_default(),
            "plugins": [json::sorted(&Value::Object(conf))],
        });
        Self::from_bytes(go_json::line(&list).into_bytes())
    }
}

impl Entry {
    /// Reads the configuration of one plugin.
    ///
    /// # Errors
    /// When it names no type, or its capabilities are no flags.
    pub(crate) fn from_value(conf: Value) -> Result<Self, Failure> {
        let Value::Object(conf) = conf else {
            let msg = format!("a plugin's configuration is {conf}, want an object");
            return Err(Failure::network(msg));
        };
        let program = text(&conf, "type")?.unwrap_or_default().to_owned();
        if program.is_empty() {
            return Err(Failure::network("type is missing: it names the plugin"));
        }
        let capabilities = json::get(&conf, "capabilities").cloned();
        let capabilities: BTreeMap<String, Option<bool>> =
            json::read(&capabilities.unwrap_or_else(|| json!({})))
                .map_err(|error| Failure::network(format!("capabilities: {error}")))?;
        let wanted = capabilities
            .into_iter()
            .filter(|(_, has)| *has == Some(true));
        Ok(Self {
            program,
            conf,
            capabilities: wanted.map(|(name, _)| name).collect(),
        })
    }

    /// The same of a file.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Failure> {
        Self::from_value(Value::Object(object(bytes)?))
    }
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, Failure> {
    let value =
        json::parse(bytes).map_err(|error| Failure::network(format!("no JSON: {error}")))?;
    match value {
        Value::Object(object) => Ok(object),
        other => Err(Failure::network(format!("want a JSON object, not {other}"))),
    }
}

fn text<'v>(object: &'v Map<String, Value>, key: &str) -> Result<Option<&'v str>, Failure> {
    match json::get(object, key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Failure::network(format!("{key} is {other}, want a text"))),
    }
}

/// True or false, which may also be written as texts.
fn flag(list: &Map<String, Value>, key: &str) -> Result<bool, Failure> {
    match json::get(list, key) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => {
            let msg = format!("{key} is {other}, want true or false");
            Err(Failure::network(msg))
        }
    }
}

/// The newest of `cniVersion` and `cniVersions` that we have; newer ones of the latter are passed over.
fn version(list: &Map<String, Value>) -> Result<Version, Failure> {
    let known = || Version::list(&Version::ALL);
    let given = text(list, "cniVersion")?.unwrap_or_default();
    let others = match json::get(list, "cniVersions") {
        None => &[][..],
        Some(Value::Array(others)) => others,
        Some(other) => {
            let msg = format!("cniVersions is {other}, want a list of texts");
            return Err(Failure::network(msg));
        }
    };
    let mut found = Vec::new();
    for other in others {
        match other.as_str() {
            Some(text) if is_version(text) => found.extend(Version::parse(text)),
            _ => {
                let msg = format!("cniVersions has {other}, want versions such as \"1.0.0\"");
                return Err(Failure::network(msg));
            }
        }
    }
    if !given.is_empty() || found.is_empty() {
        found.extend(Version::parse(given));
    }
    found.into_iter().max().ok_or_else(|| {
        let msg = format!("cniVersion is {given:?}, want one of {}", known());
        Failure::network(msg)
    })
}

fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() <= 3 && parts.iter().all(|part| part.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(value: &Value) -> Result<NetworkList, String> {
        NetworkList::from_bytes(value.to_string().into_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_newest_version_that_both_have_is_chosen() {
        for (given, others, expected) in [
            (json!("0.4.0"), json!(null), Version::V0_4_0),
            (json!(null), json!(null), Version::V0_1_0),
            (json!("1.0.0"), json!(["0.4.0", "1.1.0"]), Version::V1_1_0),
            (json!("1.0.0"), json!(["9.0.0"]), Version::V1_0_0),
            (json!("9.0.0"), json!(["1.0.0"]), Version::V1_0_0),
            (json!(null), json!(["1.1.0", "1.0.0"]), Version::V1_1_0),
        ] {
            let list = list(&json!({
                "name": "n", "cniVersion": given, "cniVersions": others, "plugins": [{"type": "t"}],
            }));
            assert_eq!(list.unwrap().version, expected, "{given} {others}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_wanted() {
        let plugins = json!([{"type": "t"}]);
        for (value, expected) in [
            (json!({"plugins": plugins}), "name is \"\""),
            (json!({"name": "../x"}), "name is \"../x\""),
            (json!({"name": 3}), "name is 3, want a text"),
            (
                json!({"name": "n", "plugins": []}),
                "want a list of at least one",
            ),
            (json!({"name": "n", "plugins": {}}), "plugins is {}"),
            (
                json!({"name": "n", "plugins": [{}]}),
                "plugins[0]: type is missing",
            ),
            (
                json!({"name": "n", "plugins": [3]}),
                "plugins[0]: a plugin's configuration is 3",
            ),
            (
                json!({"name": "n", "plugins": [{"type": "t", "capabilities": {"mac": 1}}]}),
                "plugins[0]: capabilities: ",
            ),
            (
                json!({"name": "n", "loadOnlyInlinedPlugins": true}),
                "there are no plugins",
            ),
            (
                json!({"name": "n", "disableGC": "yes"}),
                "disableGC is \"yes\", want true or false",
            ),
            (
                json!({"name": "n", "cniVersion": "9.0.0"}),
                "cniVersion is \"9.0.0\", want one of",
            ),
            (
                json!({"name": "n", "cniVersions": "1.0.0"}),
                "want a list of texts",
            ),
            (
                json!({"name": "n", "cniVersions": ["1.0.0.0"]}),
                "cniVersions has \"1.0.0.0\"",
            ),
        ] {
            let error = list(&value).unwrap_err();
            assert!(error.contains(expected), "{value}: {error}");
        }
    }

    #[test]
    fn flags_may_be_texts_and_capabilities_that_are_off_are_none() {
        let list = list(&json!({
            "name": "n", "disableCheck": "TRUE", "disableGC": false, "loadOnlyInlinedPlugins": "False",
            "plugins": [{"type": "t", "capabilities": {"mac": false, "portMappings": true, "ips": null}}],
        }))
        .unwrap();
        assert!(list.disable_check && !list.disable_gc && !list.only_inlined);
        assert_eq!(list.plugins[0].capabilities, ["portMappings"]);
    }

    /// As cnitool's cache has it.
    #[test]
    fn a_single_configuration_becomes_a_list_of_one() {
        let conf = r#"{"cniVersion":"0.4.0","name":"single","type":"rec","z":1,"a":"<"}"#;
        let list = NetworkList::from_single(conf.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(list.bytes).unwrap(),
            r#"{"cniVersion":"0.4.0","name":"single","plugins":[{"a":"\u003c","cniVersion":"0.4.0","name":"single","type":"rec","z":1}]}"#
        );
    }

    proptest::proptest! {
        #[test]
        fn any_list_is_read_or_refused(
            value in crate::arbitrary::json(
                "name|plugins|type|cniVersion|cniVersions|capabilities|disableGC|loadOnlyInlinedPlugins",
                "[a-z]{1,4}|[0-9.]{0,7}|true",
            ),
        ) {
            let text = value.to_string();
            let _ = NetworkList::from_bytes(text.clone().into_bytes());
            let _ = NetworkList::from_single(text.as_bytes());
        }
    }
}
