//! A flanneld that is started beside the agent: a second unit, or a tool that puts a host in order, may do that.

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use super::{Keeper, News};
use crate::config::options::Options;
use crate::daemon::facts::Facts;
use crate::daemon::status::parts::{HostWarning, Stops};
use crate::host::flanneld::Flanneld;
use crate::host::flanneld::beside::Beside;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// Looks for a flanneld on another thread: a host may have many processes.
pub struct FlanneldKeeper {
    options: Options,
    /// `None` while it looks.
    beside: Option<Beside>,
    looking: Option<Receiver<(Beside, Vec<Flanneld>)>>,
    found: Vec<Flanneld>,
    due: Instant,
}

impl FlanneldKeeper {
    /// For an agent with these options.
    pub fn new(options: Options, beside: Beside, now: Instant) -> Self {
        Self {
            options,
            beside: Some(beside),
            looking: None,
            found: Vec::new(),
            due: now + LOOK,
        }
    }

    fn begin(&mut self, now: Instant) {
        self.due = now + LOOK;
        if let Some(mut beside) = self.beside.take() {
            let (tell, looking) = channel();
            self.looking = Some(looking);
            tokio::task::spawn_blocking(move || {
                let found = beside.look();
                // The receiver is gone when the agent ends.
                let _ = tell.send((beside, found));
            });
        }
    }

    fn end(&mut self) {
        let answer = self.looking.as_ref().map(Receiver::try_recv);
        match answer {
            Some(Ok((beside, found))) => {
                self.beside = Some(beside);
                self.found = found;
                self.looking = None;
            }
            Some(Err(TryRecvError::Empty | TryRecvError::Disconnected)) | None => {}
        }
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
        self.end();
        if now >= self.due {
            self.begin(now);
        }
        let warning = self.warning(facts.subnet_file.rewritten);
        if warning != facts.flanneld {
            match &warning {
                Some(warning) => tracing::warn!(kind = warning.kind, "{}", warning.text),
                None => tracing::info!("flanneld no longer runs beside this agent"),
            }
            facts.flanneld = warning;
        }
        None
    }
}
