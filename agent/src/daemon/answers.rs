//! What the agent answers to commands beside its status.

use serde::{Deserialize, Serialize};
use tweed_state::{Op, Plan};

/// The answer to a preview: what a pass would do, one operation a line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Preview {
    /// What would be created, replaced or corrected.
    pub puts: Vec<String>,
    /// What would be deleted.
    pub deletes: Vec<String>,
}

/// The answer to a confirmation: what was held back until then.
#[derive(Debug, Serialize, Deserialize)]
pub struct Confirmed {
    /// What was held back, and why.
    pub confirmed: String,
}

impl Preview {
    /// A plan in words.
    pub fn of(plan: &Plan) -> Self {
        let words = |ops: &[Op]| ops.iter().map(ToString::to_string).collect();
        Self {
            puts: words(&plan.puts),
            deletes: words(&plan.deletes),
        }
    }
}
