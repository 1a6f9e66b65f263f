//! The packet filter: reads tables back, and makes changes to them, each in one transaction.

mod attachment;
mod conntrack;
mod foreign;
mod hindrance;
mod hostport;
mod legacy;
mod migrated;
mod others;
mod read;
mod restore;

use std::collections::BTreeMap;
use std::io;

pub use attachment::{masquerade, masqueraded, owners, remove_owner};
pub use conntrack::{forget_flows_past, forget_flows_to};
pub use foreign::{apply_foreign, observe_foreign};
pub use hindrance::{Hindrance, hindrances};
pub use hostport::{Missing, PublishError, publish, published, publishers, unpublish};
pub use legacy::{legacy_filter, legacy_tables};
pub use migrated::{remove_migrated, remove_migrated_ports};
pub use restore::Restorer;

use self::read::{INET, attribute};
use super::KernelError;
use super::others::Others;
use crate::firewall::render::{Message, describe};
use crate::firewall::{Change, ForeignForward, INPUT_CHAIN, SetState, TableState, change_messages};
use crate::model::Family;
use crate::netlink::{Netfilter, NetlinkError};
use crate::plan::{KernelState, Scope};

/// The packet filter of one network namespace, as the reconciler sees it.
#[derive(Debug)]
pub(super) struct Firewall {
    socket: Netfilter,
    /// Name of our table: also in the comments of our rules in other programs' chains. Known from the first look.
    table: String,
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Our table, if it is there.
    pub(super) table: Option<TableState>,
    /// Our accept rules in FORWARD chains that drop.
    pub(super) foreign_forward: BTreeMap<Family, ForeignForward>,
}

impl Firewall {
    /// Prepares for the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            socket: Netfilter::open()?,
            table: String::new(),
        })
    }

    /// The port number of the socket that changes the packet filter: its echoes are no news to the monitor.
    pub(super) fn port(&self) -> Option<u32> {
        Some(self.socket.port())
    }

    pub(super) fn observe(&mut self, scope: &Scope) -> Result<Observed, KernelError> {
        self.table.clone_from(&scope.table);
        Ok(Observed {
            table: observe(&mut self.socket, &self.table)?,
            foreign_forward: observe_foreign(&mut self.socket, &self.table)?,
        })
    }

    /// Which instances beside ours have left something here, and which drop our tunnel's packets.
    pub(super) fn look_at_others(
        &mut self,
        scope: &Scope,
        others: &mut Others,
        state: &mut KernelState,
    ) -> Result<(), KernelError> {
        let socket = &mut self.socket;
        for (instance, has_table) in others::instances(socket, &scope.table)? {
            let Some(agent) = others.running(&instance) else {
                if !others.standing.contains(&instance) {
                    state.others.left_behind.insert(instance);
                }
                continue;
            };
            if has_table && others::drops_tunnel(socket, &instance, &scope.tunnels)? {
                state.others.dropping.insert(instance, agent);
            }
        }
        Ok(())
    }

    pub(super) fn sweep(&mut self, instance: &str) -> Result<(), KernelError> {
        others::sweep(&mut self.socket, instance)
    }

    pub(super) fn apply(&mut self, change: &Change) -> Result<(), KernelError> {
        apply(&mut self.socket, change)?;
        if let Change::Replace(ruleset) = change {
            for port in &ruleset.fresh {
                // Without its interface to connection tracking the kernel forgets by itself, when nothing more comes.
                let _ = conntrack::forget_port(&mut self.socket, *port);
            }
        }
        Ok(())
    }

    pub(super) fn put_foreign_forward(
        &mut self,
        family: Family,
        wanted: &ForeignForward,
    ) -> Result<(), KernelError> {
        apply_foreign(&mut self.socket, &self.table, family, wanted)
    }
}

/// How often a transaction is tried again that lost against another program's. When a hundred plugins start at once,
/// one may lose against each of the others; an attempt takes half a millisecond.
const ATTEMPTS: u32 = 1000;

/// What our table of this name holds. A dormant table, whose rules are switched off, counts as absent.
///
/// # Errors
/// When the kernel refuses to say, or other programs change the packet filter without pause.
pub fn observe(socket: &mut Netfilter, table: &str) -> Result<Option<TableState>, KernelError> {
    let (_, reading) = read::table(socket, table)?;
    Ok(reading.map(|reading| TableState {
        chains: reading.chains,
        sets: reading
            .sets
            .into_iter()
            .map(|(name, set)| {
                let elements = set.elements.iter().map(|e| e.bytes()).collect();
                (
                    name,
                    SetState {
                        key: set.key,
                        elements,
                    },
                )
            })
            .collect(),
    }))
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
    /// Packets.
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

/// Sends one transaction. With a generation it fails with [`lost_race`] if anything has changed since that one.
fn transact(
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
type Step = (Vec<Message>, Option<u32>);

/// Reads and changes again while other programs come first. `step` looks, and returns what to do: nothing ends it.
fn persist(
    socket: &mut Netfilter,
    mut step: impl FnMut(&mut Netfilter) -> Result<Option<Step>, NetlinkError>,
) -> Result<(), NetlinkError> {
    let mut attempt = 0;
    loop {
        let Some((messages, generation)) = step(socket)? else {
            return Ok(());
        };
        match transact(socket, messages, generation) {
            Err(error) if lost_race(&error) && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

/// Sets as they are read, by name.
type Sets = BTreeMap<String, read::SetReading>;
