//! Events as `tweedd events -o json` prints them, the agent answers them, and its file keeps them: one document.

use serde::{Deserialize, Serialize};

use super::event::Event;

/// Version of the document: it rises when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// The document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Events {
    /// Version of this document.
    pub schema: u32,
    /// The events, the oldest first.
    pub events: Vec<Event>,
}

impl From<Vec<Event>> for Events {
    fn from(events: Vec<Event>) -> Self {
        let schema = SCHEMA;
        Self { schema, events }
    }
}
