//! Which group a flow's last packet is in. A table of fixed size without deletion, emptied by counting up: a flow is in
//! one of a few places, or nowhere when others have taken these, and is then not joined.

/// Places in which a flow may be.
const PROBES: usize = 8;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// The batch it was written in.
    batch: u32,
    hash: u32,
    group: u32,
}

/// Where a flow is, or may be put.
pub(super) enum Place {
    /// It is here, with this group.
    Taken(usize, usize),
    /// It is nowhere, and may be put here.
    Free(usize),
    /// It is nowhere, and others have all its places.
    Full,
}

#[derive(Debug)]
pub(super) struct Flows {
    entries: Vec<Entry>,
    batch: u32,
    pub(super) seed: u64,
}

impl Flows {
    /// A table for the flows of so many packets.
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        let len = (capacity * 2).next_power_of_two().max(PROBES);
        Self {
            entries: vec![Entry::default(); len],
            batch: 1,
            seed,
        }
    }

    /// Looks for a flow; `is_it` says of a group with the same hash whether it is of that flow.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Place {
        for probe in 0..PROBES {
            let place = self.place(hash, probe);
            let entry = self.entries[place];
            if entry.batch != self.batch {
                return Place::Free(place);
            }
            if entry.hash == hash as u32 && is_it(entry.group as usize) {
                return Place::Taken(place, entry.group as usize);
            }
        }
        Place::Full
    }

    /// Notes the group of a flow that [`find`](Self::find) found a place for.
    pub(super) fn set(&mut self, place: &Place, hash: u64, group: usize) {
        if let Place::Taken(place, _) | Place::Free(place) = *place {
            self.entries[place] = Entry {
                batch: self.batch,
                hash: hash as u32,
                group: group as u32,
            };
        }
    }

    /// Forgets all flows.
    pub(super) fn clear(&mut self) {
        self.batch = self.batch.wrapping_add(1);
        if self.batch == 0 {
            self.entries.fill(Entry::default());
            self.batch = 1;
        }
    }

    /// The upper half of the hash chooses the place, the lower half is compared.
    fn place(&self, hash: u64, probe: usize) -> usize {
        ((hash >> 32) as usize + probe) & (self.entries.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_without_a_place_is_not_mistaken_for_another() {
        let mut flows = Flows::new(4, 0);
        for group in 0..PROBES {
            let place = flows.find(7, |_| false);
            assert!(matches!(place, Place::Free(_)));
            flows.set(&place, 7, group);
        }
        assert!(matches!(flows.find(7, |_| false), Place::Full));
        assert!(matches!(
            flows.find(7, |group| group == 5),
            Place::Taken(_, 5)
        ));
    }

    #[test]
    fn no_flow_of_one_batch_is_found_in_the_next_even_when_the_count_begins_anew() {
        let mut flows = Flows::new(4, 0);
        flows.batch = u32::MAX;
        let place = flows.find(7, |_| true);
        flows.set(&place, 7, 0);
        assert!(matches!(flows.find(7, |_| true), Place::Taken(_, 0)));
        flows.clear();
        assert!(matches!(flows.find(7, |_| true), Place::Free(_)));
    }
}
