//! The own lease as it is shown.

use serde::{Deserialize, Serialize};
use tweed_store::Holding;

/// How the own lease stands, for display.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state", content = "detail")]
pub enum Standing {
    /// None yet.
    #[default]
    None,
    /// A saved lease is used; the store has not confirmed it yet.
    Saved,
    Held,
    /// The store can't be reached.
    Unsure(String),
    /// Lost; being taken back.
    Lost(String),
    /// Somebody else has it; another is being acquired.
    Taken(String),
}

impl From<&Holding> for Standing {
    fn from(holding: &Holding) -> Self {
        match holding {
            Holding::Held => Self::Held,
            Holding::Unsure { reason, .. } => Self::Unsure(reason.clone()),
            Holding::Lost { reason } => Self::Lost(reason.clone()),
            Holding::Taken { by } => {
                let by: Vec<String> = by.values().map(ToString::to_string).collect();
                Self::Taken(format!("held by {}", by.join(", ")))
            }
        }
    }
}
