//! The real kernel as the reconciler has it: whole dumps, single changes, and the books about both.

use tweed_host::KernelError;
use tweed_state::{KernelState, Op, Scope};

use super::linux::Linux;
use super::{Kernel, apply, observe};

impl Kernel for Linux {
    fn observe(&mut self, scope: &Scope) -> Result<KernelState, KernelError> {
        observe::observe(self, scope)
    }

    fn apply(&mut self, op: &Op) -> Result<(), KernelError> {
        self.ledger.lock().expect(op);
        let result = apply::apply(self, op);
        if result.is_err() {
            // What is there now is anybody's guess: whatever comes is news.
            self.ledger.lock().lose(op);
        }
        result
    }
}
