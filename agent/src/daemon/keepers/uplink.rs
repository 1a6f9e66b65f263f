//! The uplink while a session lasts, and which changes of it end the session.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tweed_model::{Dual, Uplink};

use super::{Keeper, News, SOON};
use crate::daemon::facts::Facts;
use crate::daemon::readings::{Reader, Reading};
use crate::events::sentences;
use crate::host::uplink::{self, Choice, Wanted};

/// How often the way to the address of `--iface-can-reach` is looked up.
const REACH: Duration = Duration::from_secs(3);
/// How often the uplink is looked at without an event: one may be lost, or be an echo of our own change.
const LOOK: Duration = Duration::from_secs(15);

/// Chooses the uplink again, and compares.
pub struct UplinkKeeper {
    /// How the uplink is chosen.
    pub wanted: Wanted,
    uplink: Uplink,
    public: Dual<IpAddr>,
    choice: Reading<Result<Choice, String>>,
    period: Duration,
    due: Instant,
}

impl UplinkKeeper {
    /// For a session with this uplink that announces these addresses. Any route can decide over what reaches an address,
    /// and the kernel does not report each.
    pub fn new(
        wanted: Wanted,
        (uplink, public): (Uplink, Dual<IpAddr>),
        reader: Reader,
        now: Instant,
    ) -> Self {
        let by_route = wanted.options.can_reach.is_some();
        let period = if by_route { REACH } else { LOOK };
        Self {
            wanted,
            uplink,
            public,
            choice: Reading::new(reader),
            period,
            due: now + period,
        }
    }

    /// Looks at once: something has changed.
    pub fn look_now(&mut self, now: Instant) {
        self.due = now + self.period;
        self.choice.ask_anew(self.choosing());
    }

    /// Whether what a look has found is still to come.
    pub fn is_looking(&self) -> bool {
        self.choice.is_asked()
    }

    fn choosing(&self) -> impl FnOnce() -> Result<Choice, String> + Send + 'static {
        let wanted = self.wanted.clone();
        move || uplink::choose(&wanted).map_err(|error| format!("{error:#}"))
    }

    /// Compares a choice with the session's. A missing uplink doesn't end the session: there is no other to go on with.
    fn judge(&self, choice: Result<Choice, String>, facts: &mut Facts) -> Option<News> {
        let missing = choice.as_ref().err().cloned();
        let was_missing = facts.no_uplink.is_some();
        if let Some(reason) = missing.as_ref().filter(|_| missing != facts.no_uplink) {
            facts.events.tell(sentences::uplink_gone(reason));
        }
        facts.no_uplink = missing;
        let mut choice = choice.ok()?;
        if was_missing {
            let reason = "the uplink can be used again".to_owned();
            facts.events.tell(sentences::uplink_changed(&reason));
            return Some(News::SessionEnds(reason));
        }
        // That it has lost its learned route changes nothing of what it is allowed to learn.
        choice.uplink.learned_default |= self.uplink.learned_default;
        let same = choice.uplink == self.uplink && choice.public == self.public;
        (!same).then(|| {
            let reason = format!("the uplink changed: {}", choice.reason);
            facts.events.tell(sentences::uplink_changed(&reason));
            News::SessionEnds(reason)
        })
    }
}

impl Keeper for UplinkKeeper {
    /// While there is no uplink one is looked for twice a second: what makes the next one fit may be no event of the last.
    /// Not with each look, since the result of the one before causes a look.
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        let choice = self.choice.take();
        let news = choice.and_then(|choice| self.judge(choice, facts));
        let missing = facts.no_uplink.is_some();
        if news.is_none() && now >= self.due {
            self.due = now + self.period;
            self.choice.ask(self.choosing());
        }
        if missing {
            self.due = self.due.min(now + SOON);
        }
        news
    }

    fn due(&self) -> Option<Instant> {
        Some(self.due)
    }
}
