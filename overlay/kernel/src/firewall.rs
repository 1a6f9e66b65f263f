//! The packet filter: reads tables back, and makes changes to them, each in one transaction.

mod foreign;
mod hindrance;
mod known;
mod others;

use std::io;

pub use foreign::{apply_foreign, observe_foreign};
pub use hindrance::{Asked, Dropper, Hindrance, hindrances};

use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::Netfilter;
use tweed_nft::live::{self, conntrack, read};
use tweed_nft::{Change, ForeignForward};
use tweed_state::{KernelState, Scope};

use super::others::Others;
use known::{Known, Observed};

/// The packet filter of one network namespace, as the reconciler sees it.
#[derive(Debug)]
pub(super) struct Firewall {
    socket: Netfilter,
    /// Name of our table: also in the comments of our rules in other programs' chains. Known from the first look.
    table: String,
    /// What there is, as far as nothing has changed since.
    known: Option<Known>,
}

impl Firewall {
    /// Prepares for the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            socket: Netfilter::open()?,
            table: String::new(),
            known: None,
        })
    }

    /// The port number of the socket that changes the packet filter: its echoes are no news to the monitor.
    pub(super) fn port(&self) -> Option<u32> {
        Some(self.socket.port())
    }

    /// How many requests were sent so far.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn requests(&self) -> u32 {
        self.socket.requests()
    }

    /// The socket, for the plugins' table.
    pub(super) fn socket(&mut self) -> &mut Netfilter {
        &mut self.socket
    }

    /// Our table and rules; from memory, while the packet filter is of the generation that they were read or written at.
    pub(super) fn observe(&mut self, scope: &Scope) -> Result<Observed, KernelError> {
        let known = self.known.take().filter(|_| self.table == scope.table);
        self.table.clone_from(&scope.table);
        if let Some(known) = known
            && read::generation(&mut self.socket)? == known.generation
        {
            let observed = known.observed.clone();
            self.known = Some(known);
            return Ok(observed);
        }
        let (generation, table) = live::observe_at(&mut self.socket, &self.table)?;
        let observed = Observed {
            table,
            foreign_forward: observe_foreign(&mut self.socket, &self.table)?,
        };
        let same = read::generation(&mut self.socket)? == generation;
        self.known = same.then(|| Known {
            generation,
            observed: observed.clone(),
        });
        Ok(observed)
    }

    /// Every change to this state has been made.
    pub(super) fn settled(&mut self, state: &KernelState) {
        if let Some(known) = &mut self.known {
            known.share(state);
        }
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
        let known = self.known.take();
        let before = known.as_ref().map(|known| known.generation);
        let after = known.and_then(|known| known.after(change));
        if let (Some(before), Some(after)) = (before, after)
            && live::apply_at(&mut self.socket, change, before).is_ok()
        {
            self.known = Some(after);
            return Ok(());
        }
        live::apply(&mut self.socket, change).map_err(|error| self.with_owner(error))?;
        if let Change::Replace(ruleset) = change {
            for port in &ruleset.fresh {
                // Without its interface to connection tracking the kernel forgets by itself, when nothing more comes.
                let _ = conntrack::forget_port(&mut self.socket, *port);
            }
        }
        Ok(())
    }

    /// Names the process to which our table's name belongs, where that is why it can't be changed.
    fn with_owner(&mut self, error: KernelError) -> KernelError {
        let is_refused = error.source.kind() == io::ErrorKind::PermissionDenied;
        let owner = is_refused.then(|| read::owner(&mut self.socket, &self.table));
        let Some(Ok(Some(port))) = owner else {
            return error;
        };
        let what = format!(
            "{}: nftables table inet {} belongs to another process (most likely pid {port}); end it, or give this agent another name with --instance",
            error.source, self.table
        );
        KernelError {
            source: io::Error::new(error.source.kind(), what),
            ..error
        }
    }

    pub(super) fn put_foreign_forward(
        &mut self,
        family: Family,
        wanted: &ForeignForward,
    ) -> Result<(), KernelError> {
        apply_foreign(&mut self.socket, &self.table, family, wanted)
    }
}
