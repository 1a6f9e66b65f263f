//! What operators are told about a node as Kubernetes Events: once, and again now and then while it lasts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::time::Instant;

use super::node::NodeRecord;

/// An Event that says the same is repeated after this.
const REPEAT: Duration = Duration::from_secs(600);
/// One that could not be written is tried again after this.
const RETRY: Duration = Duration::from_secs(30);
/// Longer notes are refused by the API server: 1,024 bytes.
const NOTE: usize = 1000;

/// So many are made within [`REPEAT`]: thousands of nodes may have much to tell at once.
const MOST: usize = 40;

/// What an Event says.
pub(super) struct Notice<'a> {
    /// Whether it is of type Warning.
    pub(super) warning: bool,
    /// Why it is made: a word.
    pub(super) reason: &'static str,
    /// What the agent was about: a word.
    pub(super) action: &'static str,
    /// What is wrong and who can repair it.
    pub(super) note: &'a str,
}

/// What was said, and when it may be said again.
#[derive(Default)]
pub(super) struct Events {
    said: Mutex<BTreeMap<String, Instant>>,
}

impl Events {
    /// Tells about a node. What can't be told is logged, and stops nothing.
    pub(super) async fn tell(&self, client: Client, node: &NodeRecord, notice: &Notice<'_>) {
        let Notice {
            warning,
            reason,
            action,
            note,
        } = *notice;
        if !self.is_news(note) {
            return;
        }
        let reporter = Reporter {
            controller: "tweedd".to_owned(),
            instance: Some(node.name()),
        };
        let event = Event {
            type_: match warning {
                true => EventType::Warning,
                false => EventType::Normal,
            },
            reason: reason.to_owned(),
            note: Some(shortened(note).to_owned()),
            action: action.to_owned(),
            secondary: None,
        };
        let about = node.object_ref(&());
        let written = Recorder::new(client, reporter)
            .publish(&event, &about)
            .await;
        if let Err(error) = &written {
            tracing::warn!(%error, reason, "the Event can't be written");
        }
        self.note(note, if written.is_ok() { REPEAT } else { RETRY });
    }

    fn is_news(&self, text: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        said.retain(|_, until| now < *until);
        !said.contains_key(text) && said.len() < MOST
    }

    fn note(&self, text: &str, lasts: Duration) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(text.to_owned(), Instant::now() + lasts);
    }
}

fn shortened(note: &str) -> &str {
    &note[..note.floor_char_boundary(NOTE)]
}
