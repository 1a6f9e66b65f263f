//! What an engine says of a container.

use std::fmt::Display;
use std::path::PathBuf;

use super::failure::Failure;
use super::process;

#[derive(Debug)]
pub(crate) struct Container {
    /// `CNI_CONTAINERID`. None if the engine has no such container.
    pub(crate) id: Option<String>,
    /// The name by which an operator asks for it, such as `docker://web`. None of a plain namespace.
    pub(crate) label: Option<String>,
    pub(crate) state: State,
}

#[derive(Debug)]
pub(crate) enum State {
    /// The path of its namespace.
    Runs(PathBuf),
    /// It has no namespace, and why.
    Stopped(String),
    /// The engine doesn't answer.
    Unknown(Failure),
}

impl Container {
    /// One that the engine doesn't have.
    pub(crate) fn gone(label: String, why: impl Display) -> Self {
        Self {
            id: None,
            label: Some(label),
            state: State::Stopped(why.to_string()),
        }
    }

    /// One whose engine doesn't answer.
    pub(crate) fn unknown(label: String, why: impl Display) -> Self {
        Self {
            id: None,
            label: Some(label),
            state: State::Unknown(Failure::container(why)),
        }
    }

    /// One whose first process has this number, if that still is the container's.
    pub(crate) fn of_process(label: String, id: String, number: Option<u32>) -> Self {
        let state = match number.filter(|number| process::is_of(*number, &id)) {
            Some(number) => State::Runs(process::netns(number)),
            None => State::Stopped(format!("{label} does not run: start it first")),
        };
        Self {
            id: Some(id),
            label: Some(label),
            state,
        }
    }
}
