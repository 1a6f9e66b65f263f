//! The steps of a DEL or GC. Each is tried, even after another has failed, and the errors of all are reported.

use crate::spec::CniError;

/// What could not be removed so far.
#[derive(Default)]
pub(crate) struct Removal {
    errors: Vec<CniError>,
}

impl Removal {
    pub(crate) fn of(
        steps: impl FnOnce(&mut Self) -> Result<(), CniError>,
    ) -> Result<(), CniError> {
        let mut removal = Self::default();
        let last = steps(&mut removal);
        removal.step(last);
        CniError::join(removal.errors)
    }

    /// Keeps the error of a step, and answers whether it succeeded: some things must not go while others are there.
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
    fn steps_go_on_after_one_that_failed_and_all_failures_are_reported() {
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
