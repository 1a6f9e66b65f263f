//! What something else had removed or changed, and a pass has put right.

use std::collections::BTreeSet;

use tweed_reconcile::Outcome;

/// So many objects of a repair are named.
const NAMED: usize = 3;

/// What a pass put right that something else had removed or changed, if it did.
pub fn repair(outcome: &Outcome) -> Option<String> {
    let done = !outcome.done.is_empty();
    done.then(|| repaired(&outcome.repaired)).flatten()
}

/// These objects in words, if there are any: devices first, since all else goes with them.
pub fn repaired(objects: &BTreeSet<String>) -> Option<String> {
    if objects.is_empty() {
        return None;
    }
    let is_link = |object: &&String| object.starts_with("link ");
    let links = objects.iter().filter(is_link);
    let others = objects.iter().filter(|object| !is_link(object));
    let named: Vec<&str> = links
        .chain(others)
        .take(NAMED)
        .map(String::as_str)
        .collect();
    let more = match objects.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("{}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::status::parts::KernelStatus;

    #[test]
    fn a_repair_names_devices_first_and_counts_what_it_does_not_name() {
        let objects = ["addr a", "link flannel.1", "route b", "route c", "route d"];
        let mut outcome = Outcome {
            done: vec!["add link flannel.1".to_owned()],
            repaired: objects.map(str::to_owned).into(),
            ..Outcome::default()
        };
        let words = repair(&outcome);
        let wanted = "link flannel.1, addr a, route b and 2 more";
        assert_eq!(words.as_deref(), Some(wanted));
        let mut status = KernelStatus::default();
        status.add(&outcome);
        assert_eq!(
            (
                status.repairs,
                status.last_repair.as_ref().map(|repair| &repair.what)
            ),
            (1, words.as_ref())
        );
        // Programming is no repair.
        outcome.repaired.clear();
        status.add(&outcome);
        assert_eq!(status.repairs, 1);
    }
}
