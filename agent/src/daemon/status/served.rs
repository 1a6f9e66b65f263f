//! Bad entries in the status, and what is shown of it: of what somebody else could invent any number, the first.

use super::{NAMED, Status};

impl Status {
    /// The part that is shown: a store writer could invent any number of bad entries.
    pub fn served(mut self) -> Self {
        let before = self.refused.len() + self.broken.len();
        self.refused.truncate(NAMED);
        if let Some(next) = self.broken.keys().nth(NAMED).cloned() {
            self.broken.split_off(&next);
        }
        self.more_bad_entries += before - self.refused.len() - self.broken.len();
        self.kernel.failed = limited(self.kernel.failed);
        self.not_ready = limited(self.not_ready);
        self
    }
}

/// The first of many, and how many more there are.
fn limited(mut many: Vec<String>) -> Vec<String> {
    let more = many.len().saturating_sub(NAMED);
    if more > 0 {
        many.truncate(NAMED);
        many.push(format!("and {more} more"));
    }
    many
}
