//! The value of a flag and where it was given: the command line wins over `TWEED_…`, that over `FLANNELD_…`, that over
//! the default. An empty variable counts as unset. A command takes what neither gives from the agent that it is about.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::flags::{self, Flag, Flags, Takes};
use crate::config::go_values;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// On the command line, by this flag.
    CommandLine(&'static str),
    /// In the environment, by this variable.
    Environment(String),
    /// For the agent that a command is about, as it says itself or its files do.
    Elsewhere(&'static str, String),
    /// Nowhere: it is the default of this flag.
    Default(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine(name) => write!(f, "--{name}"),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Elsewhere(name, place) => write!(f, "--{name} ({place})"),
            Self::Default(name) => write!(f, "--{name} (default)"),
        }
    }
}

/// A value that can't be used, and the fix. Exit code 64.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

impl UsageError {
    /// The value that `source` gave is not what is expected there.
    pub fn invalid(source: &Source, value: &str, expected: impl fmt::Display) -> Self {
        Self(format!("{source}: {value:?} is not {expected}"))
    }
}

/// A source of environment variables. Tests use a map.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's own environment.
pub fn process_environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

/// The names of the process's own variables.
pub fn process_variables() -> Vec<String> {
    let names = std::env::vars_os().map(|(name, _)| name.into_string());
    names.filter_map(Result::ok).collect()
}

/// Values as they were given: by flag name, in their order.
pub type Given = BTreeMap<String, Vec<String>>;

/// Values that an agent was given, and their source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Such as `the running agent tweed`.
    pub place: String,
    pub values: Given,
    /// That the agent runs and doesn't answer, so that the values are those of its files.
    pub silent: Option<String>,
}

/// What is known about each flag.
pub struct Settings<'a> {
    flags: &'a Flags,
    environment: Environment<'a>,
    elsewhere: Option<&'a Elsewhere>,
}

/// Values as given, with the place. Never empty.
type Found = (Source, Vec<String>);

impl<'a> Settings<'a> {
    /// Joins the command line with the environment.
    pub fn new(flags: &'a Flags, environment: Environment<'a>) -> Self {
        Self {
            flags,
            environment,
            elsewhere: None,
        }
    }

    /// Takes what neither gives from here.
    #[must_use]
    pub fn or(self, elsewhere: &'a Elsewhere) -> Self {
        Self {
            elsewhere: Some(elsewhere),
            ..self
        }
    }

    /// All that was given, but for secrets and for how to log: what another process must know to mean the same.
    pub fn all_given(&self) -> Given {
        let told = |flag: &&'static Flag| {
            flag.name != flags::ETCD_PASSWORD.name
                && flags::LOG_GROUP
                    .flags
                    .iter()
                    .all(|log| log.name != flag.name)
        };
        flags::all()
            .filter(told)
            .filter_map(|flag| Some((flag.name.to_owned(), self.values(flag)?.1)))
            .collect()
    }

    /// Where somebody gave the flag a value, if anybody did.
    pub fn given(&self, flag: &'static Flag) -> Option<Source> {
        self.values(flag).map(|(source, _)| source)
    }

    /// A variable that belongs to no flag; an empty one counts as unset.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    /// A text; `None` when it is empty or nobody gave one and there is no default.
    pub fn text(&self, flag: &'static Flag) -> Option<(Source, String)> {
        let (source, mut values) = self.values(flag).unwrap_or_else(|| {
            let source = Source::Default(flag.name);
            (source, vec![flag.default.to_owned()])
        });
        let value = values.pop().filter(|value| !value.is_empty())?;
        Some((source, value))
    }

    /// All values of a flag that may be repeated, without empty ones.
    pub fn list(&self, flag: &'static Flag) -> Vec<(Source, String)> {
        let Some((source, values)) = self.values(flag) else {
            return Vec::new();
        };
        values
            .into_iter()
            .filter(|value| !value.is_empty())
            .map(|value| (source.clone(), value))
            .collect()
    }

    /// A value that `read` understands.
    ///
    /// # Errors
    /// Names the flag or variable, the value, and what is `expected`.
    pub fn parsed<T>(
        &self,
        flag: &'static Flag,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, UsageError> {
        let Some((source, value)) = self.text(flag) else {
            return Ok(None);
        };
        match read(&value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(UsageError::invalid(&source, &value, expected)),
        }
    }

    /// A value of a flag that has a default and can't be empty.
    ///
    /// # Errors
    /// Names the flag or variable, the value, and what is `expected`; an empty value is none.
    pub fn required<T>(
        &self,
        flag: &'static Flag,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, UsageError> {
        let (source, value) = self
            .text(flag)
            .unwrap_or_else(|| (Source::CommandLine(flag.name), String::new()));
        read(&value).ok_or_else(|| UsageError::invalid(&source, &value, expected))
    }

    /// A switch.
    ///
    /// # Errors
    /// If the value is no boolean in Go's spelling.
    pub fn switch(&self, flag: &'static Flag) -> Result<bool, UsageError> {
        self.required(flag, go_values::BOOLEANS, go_values::boolean)
    }

    fn values(&self, flag: &'static Flag) -> Option<Found> {
        if let Some(values) = self.flags.values(flag) {
            let last = match flag.takes {
                Takes::Many(_) => 0,
                Takes::One(_) | Takes::Switch => values.len().saturating_sub(1),
            };
            return Some((Source::CommandLine(flag.name), values[last..].to_vec()));
        }
        let variable = flag.variables().into_iter().find_map(|variable| {
            let value = self.variable(&variable)?;
            Some((Source::Environment(variable), vec![value]))
        });
        variable.or_else(|| {
            let elsewhere = self.elsewhere?;
            let values = elsewhere.values.get(flag.name)?.clone();
            let source = Source::Elsewhere(flag.name, elsewhere.place.clone());
            (!values.is_empty()).then_some((source, values))
        })
    }
}

#[cfg(test)]
mod tests;
