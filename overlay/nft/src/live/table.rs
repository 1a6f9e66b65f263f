//! One table: read back whole, and changed in one transaction, also while other programs change the packet filter.

use std::collections::BTreeMap;

use tweed_host::KernelError;
use tweed_netlink::{Netfilter, NetlinkError};

use super::read::{self, INET, attribute};
use crate::render::{Message, describe};
use crate::{Change, INPUT_CHAIN, SetState, TableState, change_messages};

/// How often a transaction is tried again that lost against another program's. When a hundred plugins start at once,
/// one may lose against each of the others; an attempt takes half a millisecond.
const ATTEMPTS: u32 = 1000;

/// What our table of this name holds. A dormant table, whose rules are switched off, counts as absent.
///
/// # Errors
/// When the kernel refuses to say, or other programs change the packet filter without pause.
pub fn observe(socket: &mut Netfilter, table: &str) -> Result<Option<TableState>, KernelError> {
    observe_at(socket, table).map(|(_, state)| state)
}

/// The same, and the packet filter's generation at which that was so.
///
/// # Errors
/// As for [`observe`].
pub fn observe_at(
    socket: &mut Netfilter,
    table: &str,
) -> Result<(u32, Option<TableState>), KernelError> {
    let (generation, reading) = read::table(socket, table)?;
    let set_state = |set: read::SetReading| SetState {
        key: set.key,
        elements: set.elements.iter().map(|e| e.bytes().into()).collect(),
    };
    let state = reading.map(|reading| TableState {
        chains: reading.chains,
        sets: reading
            .sets
            .into_iter()
            .map(|(name, set)| (name, set_state(set)))
            .collect(),
    });
    Ok((generation, state))
}

/// Makes a change if nothing has changed in the packet filter since a generation. An error says no more than that the
/// change is still to be made.
///
/// # Errors
/// When anything has changed, or the kernel objects.
pub fn apply_at(
    socket: &mut Netfilter,
    change: &Change,
    generation: u32,
) -> Result<(), NetlinkError> {
    transact(socket, change_messages(change), Some(generation))
}

/// Makes a change, all of it or nothing. Elements to remove that are gone, or to add that are there, are fine; a table
/// to delete may be absent.
///
/// # Errors
/// The message that the kernel objects to, and why.
pub fn apply(socket: &mut Netfilter, change: &Change) -> Result<(), KernelError> {
    let result = transact(socket, change_messages(change), None);
    match (change, result) {
        (Change::Elements { table, add, remove }, Err(error))
            if error.is_not_found() && !remove.is_empty() =>
        {
            // One missing element fails the transaction: leave out what is gone, and try once more.
            let there = observe(socket, table)?.unwrap_or_default();
            let mut remove = remove.clone();
            for (set, elements) in &mut remove {
                let there = there.sets.get(set);
                elements.retain(|element| there.is_some_and(|s| s.elements.contains(element)));
            }
            let change = Change::Elements {
                table: table.clone(),
                add: add.clone(),
                remove,
            };
            transact(socket, change_messages(&change), None).map_err(KernelError::from)
        }
        (_, result) => result.map_err(KernelError::from),
    }
}

/// What a counting rule has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    /// Their bytes, from the IP header on.
    pub bytes: u64,
}

/// Tunnel packets of strangers and pods that our table has dropped since it was written; `None` where it isn't there.
///
/// # Errors
/// When the kernel refuses to say.
pub fn dropped(socket: &mut Netfilter, table: &str) -> Result<Option<Count>, KernelError> {
    let chain = read::drops_by_default(socket, INET, table, INPUT_CHAIN)?;
    if chain.is_none() {
        return Ok(None);
    }
    let rules = read::rules(socket, INET, table, None, None)?;
    let ours = rules.iter().filter(|rule| rule.fingerprint() != 0);
    let counts = ours.filter_map(|rule| count(rule.expression("counter")?));
    Ok(Some(counts.fold(Count::default(), |sum, count| Count {
        packets: sum.packets + count.packets,
        bytes: sum.bytes + count.bytes,
    })))
}

fn count(counter: &[u8]) -> Option<Count> {
    const BYTES: u16 = 1;
    const PACKETS: u16 = 2;
    let number = |kind| {
        let bytes = attribute(counter, kind)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    };
    Some(Count {
        packets: number(PACKETS)?,
        bytes: number(BYTES)?,
    })
}

/// Sends one transaction. With a generation it fails with `lost_race` if anything has changed since that one.
pub fn transact(
    socket: &mut Netfilter,
    messages: Vec<Message>,
    generation: Option<u32>,
) -> Result<(), NetlinkError> {
    let words: Vec<String> = messages.iter().map(describe).collect();
    socket
        .batch_at("nftables transaction", messages, generation)
        .map_err(|refused| {
            let mut error = refused.error;
            if let Some(what) = refused.index.and_then(|index| words.get(index)) {
                error.what.clone_from(what);
                if error.errno == libc::ENOENT && error.detail.is_none() && what.starts_with("add ")
                {
                    let hint = "does the kernel have all modules of nftables: nft_masq, nft_fib?";
                    error.detail = Some(hint.to_owned());
                }
            }
            error
        })
}

/// Whether a transaction failed because another program's came first: look again, and try again.
fn lost_race(error: &NetlinkError) -> bool {
    matches!(
        error.errno,
        libc::ERESTART | libc::EAGAIN | libc::EEXIST | libc::EBUSY
    ) || error.is_not_found()
}

/// What to do, and the generation that it was worked out from where it depends on nothing else having changed.
pub type Step = (Vec<Message>, Option<u32>);

/// Reads and changes again while other programs come first. `step` looks, and returns what to do: nothing ends it.
pub fn persist(
    socket: &mut Netfilter,
    mut step: impl FnMut(&mut Netfilter) -> Result<Option<Step>, NetlinkError>,
) -> Result<(), NetlinkError> {
    persist_new(socket, |socket, _| step(socket))
}

/// The same for what is probably new, so that there is no need to look for it: `step` is told whether something has been
/// in the way of an attempt.
pub fn persist_new(
    socket: &mut Netfilter,
    mut step: impl FnMut(&mut Netfilter, bool) -> Result<Option<Step>, NetlinkError>,
) -> Result<(), NetlinkError> {
    let (mut attempt, mut in_the_way) = (0, false);
    loop {
        let Some((messages, generation)) = step(socket, in_the_way)? else {
            return Ok(());
        };
        match transact(socket, messages, generation) {
            Err(error) if lost_race(&error) && attempt < ATTEMPTS => {
                attempt += 1;
                in_the_way |= !matches!(error.errno, libc::ERESTART | libc::EAGAIN);
            }
            result => return result,
        }
    }
}

/// Sets as they are read, by name.
pub type Sets = BTreeMap<String, read::SetReading>;
