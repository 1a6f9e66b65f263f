//! The real kernel as the reconciler has it: whole dumps, single changes, and the books about both.

use ipnet::IpNet;
use tweed_host::{KernelError, sysctl};
use tweed_state::{KernelState, Op, Scope, may_be_absent};

use super::linux::Linux;
use super::{Attachments, Kernel, apply, attached, observe};

impl Kernel for Linux {
    fn observe(&mut self, scope: &Scope) -> Result<KernelState, KernelError> {
        observe::observe(self, scope)
    }

    fn attachments(&mut self, networks: &[IpNet]) -> Result<Attachments, KernelError> {
        attached::look(self, networks)
    }

    fn differs(&mut self, key: &str, value: &str) -> Option<String> {
        match sysctl::read(key) {
            Ok(Some(there)) => (there != value).then_some(there),
            Ok(None) => (!may_be_absent(key)).then(String::new),
            Err(_) => Some(String::new()),
        }
    }

    fn apply(&mut self, op: &Op) -> Result<(), KernelError> {
        self.ledger.lock().expect(op);
        let result = apply::apply(self, op);
        if result.is_err() {
            // The kernel's state is unknown now: every notification is news.
            self.ledger.lock().lose(op);
        }
        result
    }

    fn settled(&mut self, state: &KernelState) {
        self.ledger.lock().settled(state);
        self.firewall.settled(state);
    }
}
