//! The only place that changes the host.

mod apply;
mod attached;
mod connected;
mod event;
#[cfg(any(test, feature = "test-util"))]
pub mod fake;
pub mod firewall;
mod kinds;
mod ledger;
mod linux;
mod monitor;
mod nexthops;
mod notice;
mod observe;
mod others;
mod ownership;
mod places;
mod readings;
mod whole;

pub use attached::{Attachments, used_bridges};
pub use event::Event;
pub use linux::Linux;
pub use monitor::Monitor;
pub use notice::is_reported;
pub use others::{Ask, Running};

use ipnet::IpNet;
use tweed_host::KernelError;
use tweed_state::{KernelState, Op, Scope};

/// What a kernel can do for the reconciler: one dump, one change at a time.
pub trait Kernel {
    /// Everything of ours that the kernel holds, within `scope`, from one set of dumps.
    ///
    /// # Errors
    /// When a dump fails for another reason than the kernel marking it interrupted (those are repeated).
    fn observe(&mut self, scope: &Scope) -> Result<KernelState, KernelError>;

    /// What attachments of containers want of the host, and what is there of it. Those that other plugins have made concern
    /// us if their addresses are within `networks`.
    ///
    /// # Errors
    /// When a dump fails.
    fn attachments(&mut self, networks: &[IpNet]) -> Result<Attachments, KernelError> {
        let _ = networks;
        Ok(Attachments::default())
    }

    /// The other value that a sysctl has, as far as that is no event of the [`Monitor`]; empty where it can't be read.
    fn differs(&mut self, sysctl: &str, value: &str) -> Option<String> {
        let _ = (sysctl, value);
        None
    }

    /// Makes one change. Puts replace what is there; deletes of what is gone succeed.
    ///
    /// # Errors
    /// The operation in words and the kernel's answer.
    fn apply(&mut self, op: &Op) -> Result<(), KernelError>;

    /// Takes note that every change to this state has been made. What is remembered of it may share its memory.
    fn settled(&mut self, state: &KernelState) {
        let _ = state;
    }
}
