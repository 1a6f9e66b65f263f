//! A flanneld that is started beside the agent: a second unit, or a tool that puts a host in order, may do that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::file_look::Files;
use super::{Keeper, News, next_look};
use crate::config::options::Options;
use crate::daemon::facts::Facts;
use crate::daemon::readings::Reading;
use crate::daemon::status::parts::{HostWarning, Stops};
use crate::events::sentences;
use crate::host::flanneld::Flanneld;
use crate::host::flanneld::beside::Beside;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(10);
/// The same after changes of kept files, which a flanneld writes when it starts.
const REST: Duration = Duration::from_secs(1);

/// Has the thread `files` look for a flanneld: a host may have many processes.
pub struct FlanneldKeeper {
    options: Options,
    beside: Arc<Mutex<Beside>>,
    looking: Reading<Vec<Flanneld>>,
    found: Vec<Flanneld>,
    looked: Instant,
    due: Instant,
}

impl FlanneldKeeper {
    /// For an agent with these options.
    pub fn new(options: Options, beside: Beside, files: &Files, now: Instant) -> Self {
        Self {
            options,
            beside: Arc::new(Mutex::new(beside)),
            looking: Reading::new(files.reader.clone()),
            found: Vec::new(),
            looked: now,
            due: next_look(now, LOOK),
        }
    }

    /// Kept files have changed.
    pub fn files_changed(&mut self) {
        self.due = self.due.min(self.looked + REST);
    }

    /// The worst of them.
    fn warning(&self, rewritten: bool) -> Option<HostWarning> {
        let options = &self.options;
        let said = |flanneld: &Flanneld| flanneld.beside(options, rewritten);
        let (text, conflicts) = self.found.iter().map(said).max_by_key(|(_, bad)| *bad)?;
        let stops = match conflicts && !options.allow_flanneld {
            true => Stops::Always,
            false => Stops::Nothing,
        };
        Some(HostWarning::new("flanneld", text).stopping(stops))
    }
}

impl Keeper for FlanneldKeeper {
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        if let Some(found) = self.looking.take() {
            self.found = found;
        }
        if now >= self.due {
            self.looked = now;
            self.due = next_look(now, LOOK);
            let beside = Arc::clone(&self.beside);
            let look = move || beside.lock().unwrap_or_else(PoisonError::into_inner).look();
            self.looking.ask(look);
        }
        let warning = self.warning(facts.subnet_file.rewritten);
        if warning != facts.flanneld {
            match &warning {
                Some(warning) => {
                    let event = sentences::hindrance(&warning.kind, &warning.text);
                    facts.events.tell(event);
                }
                None => {
                    let text = "flanneld no longer runs beside this agent";
                    facts
                        .events
                        .tell(sentences::hindrance_over("flanneld", text));
                }
            }
            facts.flanneld = warning;
        }
        None
    }

    fn due(&self) -> Option<Instant> {
        Some(self.due)
    }
}
