//! A ruleset while nothing may be removed yet.

use super::ruleset::Ruleset;
use super::sources;
use super::state::TableState;

impl Ruleset {
    /// This ruleset with every element that is there already, in sets of the same name and type: what to want while
    /// nothing may be removed yet.
    pub fn keeping(&self, there: &TableState) -> Self {
        let mut kept = self.clone();
        sources::keep(&mut kept, there);
        for (name, set) in &mut kept.sets {
            if let Some(there) = there
                .sets
                .get(name)
                .filter(|there| there.key == set.state().key)
            {
                set.elements.extend(there.elements.iter().cloned());
            }
        }
        kept
    }
}
