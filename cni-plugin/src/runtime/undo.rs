//! What an ADD takes back if it fails half-way, the last step first. There is one list for the whole call, whichever
//! plugins it goes through.

use crate::spec::CniError;

type Step = Box<dyn FnOnce() -> Result<(), CniError>>;

#[derive(Default)]
pub(crate) struct Undo {
    steps: Vec<Step>,
}

impl Undo {
    /// Remembers how to take back something that has just been done, or is about to be tried.
    pub(crate) fn push(&mut self, step: impl FnOnce() -> Result<(), CniError> + 'static) {
        self.steps.push(Box::new(step));
    }

    /// Tries steps that are done or taken back as a whole. If they succeed, a later failure still takes them back.
    ///
    /// # Errors
    /// The reason, with what could not be taken back in its details.
    pub(crate) fn attempt<T>(
        &mut self,
        steps: impl FnOnce(&mut Self) -> Result<T, CniError>,
    ) -> Result<T, CniError> {
        let mut own = Self::default();
        match steps(&mut own) {
            Ok(done) => {
                self.steps.append(&mut own.steps);
                Ok(done)
            }
            Err(reason) => Err(own.run(reason)),
        }
    }

    /// Takes everything back. What fails doesn't keep the rest from being tried.
    fn run(self, reason: CniError) -> CniError {
        let failed: Vec<String> = self
            .steps
            .into_iter()
            .rev()
            .filter_map(|step| step().err())
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
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    type Seen = Rc<RefCell<Vec<u8>>>;

    fn step(undo: &mut Undo, seen: &Seen, number: u8) {
        let seen = seen.clone();
        undo.push(move || {
            seen.borrow_mut().push(number);
            match number {
                2 => Err(CniError::failed("stuck")),
                _ => Ok(()),
            }
        });
    }

    #[test]
    fn the_last_step_is_undone_first_and_a_failure_does_not_stop_the_rest() {
        let seen = Seen::default();
        let failed = Undo::default().attempt(|undo| {
            (1..=3).for_each(|number| step(undo, &seen, number));
            Err::<(), _>(CniError::config("bad"))
        });
        assert_eq!(*seen.borrow(), [3, 2, 1]);
        assert_eq!(failed.unwrap_err().to_string(), "bad; not undone: stuck");
    }

    #[test]
    fn what_failed_within_is_undone_at_once_and_what_succeeded_with_the_whole() {
        let seen = Seen::default();
        let failed = Undo::default().attempt(|undo| {
            step(undo, &seen, 1);
            undo.attempt(|undo| {
                step(undo, &seen, 3);
                Err::<(), _>(CniError::config("first try"))
            })
            .unwrap_err();
            assert_eq!(*seen.borrow(), [3]);
            undo.attempt(|undo| {
                step(undo, &seen, 4);
                Ok(())
            })?;
            Err::<(), _>(CniError::config("bad"))
        });
        assert_eq!(*seen.borrow(), [3, 4, 1]);
        assert_eq!(failed.unwrap_err().to_string(), "bad");
    }

    #[test]
    fn nothing_is_undone_after_success() {
        let seen = Seen::default();
        let done = Undo::default().attempt(|undo| {
            step(undo, &seen, 1);
            Ok(())
        });
        assert_eq!((done, seen.borrow().len()), (Ok(()), 0));
    }
}
