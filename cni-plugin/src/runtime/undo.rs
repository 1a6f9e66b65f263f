//! What an ADD must take back if it fails half-way: the last step first.

use crate::spec::CniError;

type Step<'a, C> = Box<dyn FnOnce(&mut C) -> Result<(), CniError> + 'a>;

/// The steps to take back, over what they need to do it.
pub(crate) struct Undo<'a, C> {
    steps: Vec<Step<'a, C>>,
}

impl<'a, C> Undo<'a, C> {
    /// Nothing to take back yet.
    pub(crate) fn new() -> Self {
        Self { steps: Vec::new() }
    }

    /// Remembers how to take back something that has just been done, or is about to be tried.
    pub(crate) fn push(&mut self, step: impl FnOnce(&mut C) -> Result<(), CniError> + 'a) {
        self.steps.push(Box::new(step));
    }

    /// Takes everything back. What fails doesn't keep the rest from being tried, and is told after the reason for it all.
    pub(crate) fn run(self, context: &mut C, reason: CniError) -> CniError {
        let failed: Vec<String> = self
            .steps
            .into_iter()
            .rev()
            .filter_map(|step| step(context).err())
            .map(|error| error.to_string())
            .collect();
        if failed.is_empty() {
            return reason;
        }
        let undo = format!("not undone: {}", failed.join("; "));
        let details = match reason.details.as_str() {
            "" => undo,
            details => format!("{details}; {undo}"),
        };
        reason.details(details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_is_undone_first_and_a_failure_does_not_stop_the_rest() {
        let mut undo = Undo::new();
        undo.push(|seen: &mut Vec<u8>| {
            seen.push(1);
            Ok(())
        });
        undo.push(|seen: &mut Vec<u8>| {
            seen.push(2);
            Err(CniError::failed("stuck"))
        });
        let mut seen = Vec::new();
        let error = undo.run(&mut seen, CniError::config("bad"));
        assert_eq!(seen, [2, 1]);
        assert_eq!(error.to_string(), "bad; not undone: stuck");
    }
}
