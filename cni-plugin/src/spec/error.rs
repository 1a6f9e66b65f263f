//! The error object of a verb that failed. The numbers of the specification stand here and nowhere else.

use std::fmt::{self, Display};
use std::io;

use serde::Deserialize;
use serde_json::{Value, json};
use tweed_host::KernelError;
use tweed_netlink::NetlinkError;
use tweed_netlink::netns::NetnsError;

/// A failed verb: the code is for the runtime, `msg` and `details` are for its operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct CniError {
    pub(crate) kind: Kind,
    /// What failed, naming the object.
    pub(crate) msg: String,
    /// More about it; may be empty.
    pub(crate) details: String,
}

/// The kinds of failure, each with a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The configuration's version is not one of ours, or does not have the verb.
    IncompatibleVersion,
    /// A key whose value asks for something that we don't do.
    UnsupportedField,
    /// A `CNI_*` variable is missing or wrong.
    Environment,
    /// A read or write failed.
    Io,
    /// Not JSON, or a value of the wrong type.
    Decode,
    /// A key whose value makes no sense.
    Config,
    /// The container's namespace is the host's.
    Namespace,
    /// It may work later: another process is at it.
    TryLater,
    /// STATUS: no ADD can succeed now.
    NotAvailable,
    /// STATUS: the same, and pods that run may be cut off from some others.
    Limited,
    /// ADD: the name of an interface is taken.
    Taken,
    /// ADD: this attachment already holds an address.
    Duplicate,
    /// No address is left.
    Exhausted,
    /// CHECK: something is not as ADD left it.
    Drift,
    /// ADD: a foreign address or setting is in the way.
    Conflict,
    /// Everything else.
    Failed,
    /// The code of an executed plugin, passed on unchanged.
    Foreign(u32),
}

impl Kind {
    /// The number in the error object. 100 and above are our own.
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::IncompatibleVersion => 1,
            Self::UnsupportedField => 2,
            Self::Environment => 4,
            Self::Io => 5,
            Self::Decode => 6,
            Self::Config => 7,
            Self::Namespace => 8,
            Self::TryLater => 11,
            Self::NotAvailable => 50,
            Self::Limited => 51,
            Self::Taken => 100,
            Self::Duplicate => 101,
            Self::Exhausted => 102,
            Self::Drift => 103,
            Self::Conflict => 104,
            Self::Failed => 999,
            Self::Foreign(code) => code,
        }
    }
}

impl CniError {
    pub(crate) fn new(kind: Kind, msg: impl Display) -> Self {
        Self {
            kind,
            msg: msg.to_string(),
            details: String::new(),
        }
    }

    /// The same with details.
    #[must_use]
    pub(crate) fn details(mut self, details: impl Display) -> Self {
        self.details = details.to_string();
        self
    }

    /// The same, saying what was being done. The code stays.
    #[must_use]
    pub(crate) fn context(mut self, what: impl Display) -> Self {
        self.msg = format!("{what}: {}", self.msg);
        self
    }

    /// A key whose value makes no sense.
    pub(crate) fn config(msg: impl Display) -> Self {
        Self::new(Kind::Config, msg)
    }

    /// Something not worth a number of its own.
    pub(crate) fn failed(msg: impl Display) -> Self {
        Self::new(Kind::Failed, msg)
    }

    /// Something that CHECK found changed.
    pub(crate) fn drift(msg: impl Display) -> Self {
        Self::new(Kind::Drift, msg)
    }

    /// The error object, in the version that the configuration speaks.
    pub(crate) fn to_json(&self, cni_version: &str) -> Value {
        let mut object =
            json!({"cniVersion": cni_version, "code": self.kind.code(), "msg": self.msg});
        if !self.details.is_empty() {
            object["details"] = Value::from(self.details.as_str());
        }
        object
    }

    /// Reads the error object of an executed plugin.
    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        #[derive(Deserialize)]
        struct Object {
            code: u32,
            #[serde(default)]
            msg: String,
            #[serde(default)]
            details: String,
        }
        let object: Object = super::json::read(value).ok()?;
        Some(Self {
            kind: Kind::Foreign(object.code),
            msg: object.msg,
            details: object.details,
        })
    }

    /// One error out of those that several steps met, or success.
    pub(crate) fn join(errors: Vec<Self>) -> Result<(), Self> {
        let mut errors = errors.into_iter();
        let Some(mut first) = errors.next() else {
            return Ok(());
        };
        for other in errors {
            first.msg = format!("{}; {other}", first.msg);
        }
        Err(first)
    }
}

impl Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if !self.details.is_empty() {
            write!(f, "; {}", self.details)?;
        }
        Ok(())
    }
}

impl From<io::Error> for CniError {
    fn from(error: io::Error) -> Self {
        Self::new(Kind::Io, reason(&error))
    }
}

impl From<NetlinkError> for CniError {
    fn from(error: NetlinkError) -> Self {
        Self::failed(error)
    }
}

impl From<NetnsError> for CniError {
    fn from(error: NetnsError) -> Self {
        Self::failed(error)
    }
}

impl From<KernelError> for CniError {
    fn from(error: KernelError) -> Self {
        Self::failed(error)
    }
}

/// Says what was being done when a call failed.
pub(crate) trait Context<T> {
    /// Prefixes the error with `what`, which is only rendered when there is one.
    ///
    /// # Errors
    /// The error as a [`CniError`].
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T, CniError>;
}

impl<T, E: Into<CniError>> Context<T> for Result<T, E> {
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T, CniError> {
        self.map_err(|error| error.into().context(what()))
    }
}

/// The text of a system error without Rust's `(os error 2)`, in the lower case that operators grep for.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => nix::errno::Errno::from_raw(errno).desc().to_lowercase(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_object_carries_the_version_and_omits_empty_details() {
        let error = CniError::config("no ranges").context("host-local");
        assert_eq!(
            error.to_json("1.0.0").to_string(),
            r#"{"cniVersion":"1.0.0","code":7,"msg":"host-local: no ranges"}"#
        );
        let error = error.details("ipam");
        assert_eq!(error.to_string(), "host-local: no ranges; ipam");
    }

    #[test]
    fn a_foreign_error_keeps_its_code() {
        let value = json!({"code": 11, "msg": "busy", "details": "wait"});
        let error = CniError::from_json(&value).unwrap();
        assert_eq!(
            (error.kind.code(), error.to_string().as_str()),
            (11, "busy; wait")
        );
        assert_eq!(CniError::from_json(&json!("text")), None);
    }

    #[test]
    fn several_errors_become_one_that_names_all() {
        let joined = CniError::join(vec![CniError::config("a"), CniError::failed("b")]);
        assert_eq!(joined.unwrap_err().to_string(), "a; b");
        assert_eq!(CniError::join(Vec::new()), Ok(()));
    }
}
