//! The steps of a DEL or GC. Each is tried, even after another has failed, and the errors of all are reported.

use crate::spec::CniError;

/// What could not be removed so far.
#[derive(Default)]
pub(crate) struct Removal {
    errors: Vec<CniError>,
}

impl Removal {
    /// Runs the steps.
    ///
    /// # Errors
    /// Those of all steps in one.
    pub(crate) fn of(
        steps: impl FnOnce(&mut Self) -> Result<(), CniError>,
    ) -> Result<(), CniError> {
        let mut removal = Self::default();
        let last = steps(&mut removal);
        removal.step(last);
        CniError::join(removal.errors)
    }

    /// Notes how a step went, and answers whether it went well: for what must not be removed while something else is
    /// there.
    pub(crate) fn step(&mut self, result: Result<(), CniError>) -> bool {
        match result {
            Ok(()) => true,
            Err(error) => {
                self.errors.push(error);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_go_on_after_one_that_failed_and_all_failures_are_told() {
        let failed = Removal::of(|removal| {
            assert!(!removal.step(Err(CniError::config("a"))));
            assert!(removal.step(Ok(())));
            removal.step(Err(CniError::failed("b")));
            Err(CniError::failed("c"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "a; b; c");
        assert_eq!(Removal::of(|_| Ok(())), Ok(()));
    }
}
