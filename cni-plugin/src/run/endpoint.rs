//! What a call of plugins is about: one interface of one container, and what the runtime gives for it.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};
use tweed_attach::sha512_hex;

use super::failure::{Failure, Reason};
use crate::spec::args::Args;
use crate::spec::{Attachment, json};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) key: Attachment,
    /// Path of the container's namespace; empty if that is gone.
    pub(crate) netns: String,
    pub(crate) given: Given,
    /// The container as the operator names it, such as `docker://web`. None of a plain namespace.
    pub(crate) container: Option<String>,
}

/// What a runtime gives for one attachment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Given {
    /// `CNI_ARGS`.
    pub(crate) args: Args,
    /// Values of capabilities.
    pub(crate) values: Map<String, Value>,
}

impl Given {
    /// Reads `CNI_ARGS` and `CAP_ARGS`.
    ///
    /// # Errors
    /// When they can't be read.
    pub(crate) fn parse(args: &str, values: &str) -> Result<Self, Failure> {
        let usage = |text: String| Failure::new(Reason::Usage, text);
        let args = Args::parse(args).map_err(|error| usage(format!("CNI_ARGS: {error}")))?;
        let values = match values.trim() {
            "" => Value::Object(Map::new()),
            text => json::parse(text.as_bytes())
                .map_err(|error| usage(format!("CAP_ARGS is no JSON: {error}")))?,
        };
        let Value::Object(values) = values else {
            let msg = format!("CAP_ARGS is {values}, want an object such as {{\"mac\": \"…\"}}");
            return Err(usage(msg));
        };
        Ok(Self { args, values })
    }

    /// Each of the two as `kept` has it, unless it is given here.
    pub(crate) fn or(&self, kept: &Self) -> Self {
        let args = if self.args.is_empty() { kept } else { self };
        let values = if self.values.is_empty() { kept } else { self };
        Self {
            args: args.args.clone(),
            values: values.values.clone(),
        }
    }
}

/// The container ID that cnitool makes of a namespace's path, so that either removes what the other attached.
pub(crate) fn id_of_path(path: &str) -> String {
    format!("cnitool-{}", sha512_hex(path, 20))
}

/// An absolute path without `.`, `..` and doubled slashes, as Go makes one: by its text alone.
pub(crate) fn absolute(path: &str) -> PathBuf {
    let folder = std::env::current_dir().unwrap_or_default();
    let mut clean = PathBuf::from("/");
    for part in folder.join(Path::new(path)).components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As cnitool printed it.
    #[test]
    fn a_namespaces_id_is_cnitools() {
        for path in ["/run/netns/x", "/run//netns/../netns/./x/"] {
            let path = absolute(path);
            assert_eq!(path, Path::new("/run/netns/x"));
            assert_eq!(
                id_of_path(&path.to_string_lossy()),
                "cnitool-55e2cecc95014b0f7fc4"
            );
        }
    }

    #[test]
    fn values_that_are_no_object_are_refused_by_the_variables_name() {
        for (args, values, expected) in [
            ("", "[]", "CAP_ARGS is [], want an object"),
            ("", "{", "CAP_ARGS is no JSON"),
            ("IP", "", "CNI_ARGS: "),
        ] {
            let error = Given::parse(args, values).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.reason, Reason::Usage);
        }
        assert_eq!(Given::parse("", "").unwrap(), Given::default());
    }
}
