//! One client (RFC 2131, 4.4): from the first DISCOVER to the end of the lease. Pure: it is told the time, chance and what
//! was received, and says what to send and when to be asked again.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::identity::{Destination, Identity, Outgoing};
use crate::lease::{Lease, Time};
use crate::message::{Kind, Message, code};

/// Tries that follow each other fast, before pauses double.
const FAST_TRIES: u32 = 4;
const FAST: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_secs(4);
/// Pauses are longer or shorter by up to this much.
const JITTER: Duration = Duration::from_secs(1);
/// The shortest pause between two renewals of a lease of more than 20 minutes; of a shorter one a twentieth.
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);
/// How long a lease that ended while no daemon ran is still asked for.
const GRACE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The longest pause between two tries.
    pub resend_max: Duration,
    /// After this long without a lease it gives up.
    pub resend_timeout: Duration,
}

/// What follows from a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    Send(Outgoing),
    /// It has a lease, or the old one for longer.
    Bound,
    /// It has none, and stops.
    Failed(String),
    /// The lease is over, and was not to be had again.
    Expired,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Selecting,
    /// An offer is taken.
    Requesting(Lease),
    /// A lease of an earlier run is verified.
    Rebooting,
    Bound,
    Renewing,
    Rebinding,
    Over,
}

#[derive(Clone, Debug)]
pub struct Client {
    identity: Identity,
    timing: Timing,
    state: State,
    /// What it has, or had and wants back.
    lease: Option<Lease>,
    xid: u32,
    /// When it began to ask, and when it began with the present kind of message.
    begun: Time,
    asked: Time,
    tries: u32,
    due: Option<Time>,
    /// When it stops asking for a lease.
    limit: Option<Time>,
    /// Why the last answer was of no use.
    reason: Option<String>,
}

impl Client {
    /// A client without a lease. The first message is due at once.
    pub fn new(identity: Identity, timing: Timing, now: Time, random: u64) -> Self {
        Self {
            identity,
            timing,
            state: State::Selecting,
            lease: None,
            xid: xid(random),
            begun: now,
            asked: now,
            tries: 0,
            due: Some(now),
            limit: Some(now + timing.resend_timeout),
            reason: None,
        }
    }

    /// A client that had a lease before its host or its program was started again.
    pub fn resume(self, lease: Lease) -> Self {
        let grace = self.begun + GRACE;
        Self {
            state: State::Rebooting,
            limit: lease.end().map(|end| end.max(grace)),
            lease: Some(lease),
            ..self
        }
    }

    /// When [`Client::tick`] is to be called; `None` for never.
    pub fn due(&self) -> Option<Time> {
        self.due
    }

    /// Has the next message sent at a later time.
    pub fn postpone(&mut self, until: Time) {
        self.due = Some(until);
    }

    /// The lease that it has. One that is refused or over is none.
    pub fn lease(&self) -> Option<&Lease> {
        let is_held = matches!(
            self.state,
            State::Rebooting | State::Bound | State::Renewing | State::Rebinding
        );
        self.lease.as_ref().filter(|_| is_held)
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// What is due.
    pub fn tick(&mut self, now: Time, random: u64) -> Step {
        if self.due.is_none_or(|due| now < due) {
            return Step::Nothing;
        }
        match &self.state {
            State::Selecting if self.limit.is_some_and(|limit| now >= limit) => self.give_up(),
            State::Selecting => self.send_with_pause(now, random),
            State::Requesting(_) if self.tries < FAST_TRIES => self.send_with_pause(now, random),
            State::Requesting(_) => {
                self.select(now, random, now);
                self.tick(now, random)
            }
            State::Rebooting if self.tries < FAST_TRIES => self.send_with_pause(now, random),
            State::Rebooting => {
                // Nobody has refused the lease: it is as good as it was.
                self.state = State::Bound;
                self.due = self.lease.as_ref().and_then(Lease::renewal);
                self.tick(now, random)
            }
            State::Bound => {
                self.begin(State::Renewing, now, random);
                self.begun = now;
                self.tick(now, random)
            }
            State::Renewing => match self.lease.as_ref().and_then(Lease::rebinding) {
                Some(rebinding) if now >= rebinding => {
                    self.begin(State::Rebinding, now, random);
                    self.tick(now, random)
                }
                until => self.send_until(now, until),
            },
            State::Rebinding => match self.lease.as_ref().and_then(Lease::end) {
                Some(end) if now >= end => self.give_up(),
                until => self.send_until(now, until),
            },
            State::Over => Step::Nothing,
        }
    }

    /// Takes what a server sent.
    pub fn receive(&mut self, message: &Message, now: Time, random: u64) -> Step {
        if !self.is_for_us(message) {
            return Step::Nothing;
        }
        match (&self.state, message.kind) {
            (State::Selecting, Kind::Offer) => match self.usable(message) {
                Ok(offer) => {
                    self.state = State::Requesting(offer);
                    (self.tries, self.asked) = (0, now);
                    self.send_with_pause(now, random)
                }
                Err(reason) => self.refuse(reason),
            },
            (State::Requesting(offer), Kind::Ack) => {
                if message.address(code::SERVER) != Some(offer.server)
                    || message.yiaddr != offer.address.addr()
                {
                    return self.refuse("the server acknowledged what it did not offer".into());
                }
                self.bind(message)
            }
            (State::Rebooting | State::Renewing | State::Rebinding, Kind::Ack) => {
                self.bind(message)
            }
            (State::Requesting(offer), Kind::Nak) => {
                if message.address(code::SERVER) == Some(offer.server) {
                    self.refused(message);
                    self.select(now, random, now + JITTER);
                }
                Step::Nothing
            }
            (State::Renewing, Kind::Nak) if !self.is_from_own_server(message) => Step::Nothing,
            (State::Rebooting | State::Renewing | State::Rebinding, Kind::Nak) => {
                self.refused(message);
                let without_end = now + self.timing.resend_timeout;
                let limit = self
                    .limit
                    .map_or(without_end, |limit| limit.max(now + JITTER));
                self.limit = Some(limit);
                self.select(now, random, now);
                Step::Nothing
            }
            _ => Step::Nothing,
        }
    }

    /// Gives the lease back. Nothing is sent that has none.
    pub fn release(&self, random: u64) -> Option<Outgoing> {
        let lease = self.lease()?;
        let mut message = self.identity.message(Kind::Release, xid(random), 0);
        message.ciaddr = lease.address.addr();
        message.options = [
            (code::SERVER, lease.server.octets().to_vec()),
            (code::CLIENT_ID, self.identity.client_id().to_vec()),
        ]
        .into();
        Some(Outgoing {
            to: self.server()?,
            message,
        })
    }

    fn is_for_us(&self, message: &Message) -> bool {
        let id = message.options.get(&code::CLIENT_ID);
        message.xid == self.xid
            && message.hardware == self.identity.hardware
            && id.is_none_or(|id| id == self.identity.client_id())
    }

    fn is_from_own_server(&self, message: &Message) -> bool {
        let own = self.lease.as_ref().map(|lease| lease.server);
        message.address(code::SERVER) == own
    }

    /// A lease as a message has it. A client that had an address takes no other: the container is configured with it.
    fn usable(&self, message: &Message) -> Result<Lease, String> {
        let lease = Lease::read(message, self.asked).map_err(|why| why.to_string())?;
        match &self.lease {
            Some(own) if own.address != lease.address => Err(format!(
                "{} is offered, the container has {}",
                lease.address, own.address
            )),
            _ => Ok(lease),
        }
    }

    fn bind(&mut self, message: &Message) -> Step {
        match self.usable(message) {
            Ok(lease) => {
                (self.due, self.limit) = (lease.renewal(), lease.end());
                (self.lease, self.reason) = (Some(lease), None);
                self.state = State::Bound;
                Step::Bound
            }
            Err(reason) => self.refuse(reason),
        }
    }

    fn refuse(&mut self, reason: String) -> Step {
        self.reason = Some(format!("an answer was of no use: {reason}"));
        Step::Nothing
    }

    /// Notes what the server says. It is foreign text: short, and of printable characters.
    fn refused(&mut self, message: &Message) {
        let text = message.options.get(&code::MESSAGE);
        let text = text.map(|text| String::from_utf8_lossy(text).into_owned());
        let text: String = text.unwrap_or_default().escape_debug().take(80).collect();
        self.reason = Some(format!("a server refused (NAK): {text:?}"));
    }

    fn give_up(&mut self) -> Step {
        (self.state, self.due) = (State::Over, None);
        if self.lease.is_some() {
            return Step::Expired;
        }
        let seconds = self.timing.resend_timeout.as_secs_f32();
        let why = self.reason.clone();
        let why = why.unwrap_or_else(|| "no server answered".into());
        Step::Failed(format!("no lease within {seconds} s: {why}"))
    }

    fn select(&mut self, now: Time, random: u64, due: Time) {
        self.begin(State::Selecting, now, random);
        self.due = Some(due);
    }

    fn begin(&mut self, state: State, now: Time, random: u64) {
        self.state = state;
        (self.xid, self.asked, self.tries) = (xid(random), now, 0);
    }

    /// Sends, and again after a pause that grows.
    fn send_with_pause(&mut self, now: Time, random: u64) -> Step {
        let base = match self.tries.checked_sub(FAST_TRIES) {
            None => FAST,
            Some(doubled) => FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doubled)),
        };
        let part = (random & 0xffff) as f64 / f64::from(0x1_0000);
        let pause = base.min(self.timing.resend_max) + JITTER.mul_f64(2.0 * part);
        let due = now + pause.saturating_sub(JITTER).max(JITTER / 4);
        self.tries += 1;
        self.due = Some(self.limit.map_or(due, |limit| due.min(limit.max(now))));
        self.send(now)
    }

    /// Sends, and again after half of what is left.
    fn send_until(&mut self, now: Time, until: Option<Time>) -> Step {
        let length = self.lease.as_ref().map_or(0, |lease| lease.expire);
        let shortest = RENEWAL_PAUSE.min(Duration::from_secs(length.into()) / 20);
        let left = until.map_or(RENEWAL_PAUSE, |until| until.saturating_sub(now));
        let pause = (left / 2).max(shortest).max(JITTER);
        self.due = Some(until.map_or(now + pause, |until| until.min(now + pause)));
        self.send(now)
    }

    fn send(&self, now: Time) -> Step {
        let address = |address: Ipv4Addr| address.octets().to_vec();
        let own = self.lease.as_ref().map(|lease| lease.address.addr());
        let (kind, wanted) = match &self.state {
            State::Selecting => (Kind::Discover, own),
            State::Requesting(offer) => (Kind::Request, Some(offer.address.addr())),
            State::Rebooting => (Kind::Request, own),
            _ => (Kind::Request, None),
        };
        let secs = now.saturating_sub(self.begun).as_secs();
        let secs = u16::try_from(secs).unwrap_or(u16::MAX);
        let mut message = self.identity.message(kind, self.xid, secs);
        let wanted = wanted.map(|wanted| (code::REQUESTED_ADDRESS, address(wanted)));
        message.options.extend(wanted);
        if let State::Requesting(offer) = &self.state {
            message.options.insert(code::SERVER, address(offer.server));
        }
        let mut to = Destination::Link;
        if matches!(self.state, State::Renewing | State::Rebinding) {
            message.ciaddr = own.unwrap_or(Ipv4Addr::UNSPECIFIED);
            message.broadcast = false;
        }
        if self.state == State::Renewing {
            to = self.server().unwrap_or(to);
        }
        Step::Send(Outgoing { to, message })
    }

    fn server(&self) -> Option<Destination> {
        self.lease.as_ref().map(|lease| Destination::Server {
            from: lease.address.addr(),
            to: lease.server,
        })
    }
}

fn xid(random: u64) -> u32 {
    (random >> 32) as u32
}

#[cfg(test)]
mod tests;
