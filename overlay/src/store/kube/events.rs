//! What operators are told about a node as Kubernetes Events: once, and again now and then while it lasts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::time::Instant;

use super::node::NodeRecord;

/// An Event that says the same is repeated after this.
const REPEAT: Duration = Duration::from_secs(600);

/// What was said last, and when.
#[derive(Default)]
pub(super) struct Events {
    said: Mutex<Option<(String, Instant)>>,
}

impl Events {
    /// Warns about a node. What can't be told is logged, and stops nothing.
    pub(super) async fn warn(&self, client: Client, node: &NodeRecord, word: &str, text: &str) {
        if !self.is_news(text) {
            return;
        }
        let reporter = Reporter {
            controller: "tweedd".to_owned(),
            instance: Some(node.name()),
        };
        let event = Event {
            type_: EventType::Warning,
            reason: word.to_owned(),
            note: Some(text.chars().take(1000).collect()),
            action: "AcquireLease".to_owned(),
            secondary: None,
        };
        let about = node.object_ref(&());
        if let Err(error) = Recorder::new(client, reporter)
            .publish(&event, &about)
            .await
        {
            tracing::warn!(%error, word, "the Event can't be written");
        }
    }

    fn is_news(&self, text: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let known = said
            .as_ref()
            .is_some_and(|(before, at)| before == text && at.elapsed() < REPEAT);
        if !known {
            *said = Some((text.to_owned(), Instant::now()));
        }
        !known
    }
}
