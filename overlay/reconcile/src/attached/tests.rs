use tweed_kernel::Attachments;
use tweed_state::{Attached, KernelState, Scope};

use super::*;

/// A kernel with given answers that accepts every change but some.
#[derive(Default)]
struct GivenKernel {
    seen: Attachments,
    applied: Vec<String>,
    refuses: &'static str,
}

impl Kernel for GivenKernel {
    fn observe(&mut self, _scope: &Scope) -> Result<KernelState, KernelError> {
        Ok(KernelState::default())
    }

    fn attachments(&mut self, _networks: &[IpNet]) -> Result<Attachments, KernelError> {
        Ok(self.seen.clone())
    }

    fn apply(&mut self, op: &Op) -> Result<(), KernelError> {
        let what = op.to_string();
        if what.contains(self.refuses) && !self.refuses.is_empty() {
            let source = std::io::Error::other("no");
            return Err(KernelError { what, source });
        }
        self.applied.push(what);
        Ok(())
    }
}

/// Two attachments that have lost their masquerading.
fn damaged() -> GivenKernel {
    let addrs = |addr: &str| vec![addr.parse().unwrap()];
    let wanted = Attached {
        rules: true,
        masquerade: BTreeMap::from([
            ("n/a/e".to_owned(), addrs("10.1.2.3/24")),
            ("n/b/e".to_owned(), addrs("10.1.2.4/24")),
        ]),
        ..Attached::default()
    };
    let there = Attached {
        rules: true,
        ..Attached::default()
    };
    GivenKernel {
        seen: Attachments {
            wanted,
            there,
            ..Attachments::default()
        },
        ..GivenKernel::default()
    }
}

fn look_at(kernel: &mut GivenKernel) -> AttachedOutcome {
    look(kernel, &mut Fights::default(), &[], Instant::now()).unwrap()
}

#[test]
fn what_may_be_on_its_way_out_is_put_back_at_the_next_look_only() {
    let mut kernel = damaged();
    kernel.seen.unsure = BTreeSet::from(["n/a/e".to_owned()]);
    let outcome = look_at(&mut kernel);
    assert_eq!(kernel.applied, ["masquerade 10.1.2.4/24 of n/b/e"]);
    assert!(outcome.unsure && outcome.failed.is_empty());
    // The plan shows both.
    assert_eq!(preview(&mut kernel, &[]).unwrap().len(), 2);
    kernel.seen.unsure.clear();
    assert!(!look_at(&mut kernel).unsure);
    assert_eq!(kernel.applied.len(), 3);
}

#[test]
fn one_that_is_refused_stops_no_other_and_is_named() {
    let mut kernel = damaged();
    kernel.refuses = "n/a/e";
    let outcome = look_at(&mut kernel);
    assert_eq!(outcome.done, ["masquerade 10.1.2.4/24 of n/b/e"]);
    let failure = Failure {
        op: "masquerade 10.1.2.3/24 of n/a/e".to_owned(),
        error: "no".to_owned(),
    };
    assert_eq!(outcome.failed, [failure]);
    assert_eq!(outcome.repaired.len(), 1);
}
