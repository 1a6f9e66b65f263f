//! One lease and the interface that it is for: what the client says is sent, what comes is given to it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tweed_host::random;

use crate::client::{Client, Step, Timing};
use crate::identity::{Identity, Outgoing};
use crate::key::Key;
use crate::lease::{Lease, Time};
use crate::line::{Line, LineError, look, set_down};
use crate::log;
use crate::message::Options;
use crate::protocol::Add;
use crate::record::{Place, Record};

/// Packets of one interface that are read before others have their turn.
const TURN: usize = 32;

/// What is the same for all leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What is put before the path of a namespace.
    pub(crate) prefix: String,
    /// Whether all answers have to go to everybody.
    pub(crate) broadcast: bool,
    /// How long an answer is waited for with an open socket.
    pub(crate) timeout: Duration,
    pub(crate) timing: Timing,
}

/// What became of a lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Nothing,
    /// It is had, or had for longer.
    Bound,
    /// None was to be had.
    Failed(String),
    /// Its container is gone.
    Gone(String),
    /// It is over; the interface has been set down.
    Expired,
}

#[derive(Debug)]
pub(crate) struct Keeper {
    key: Key,
    place: Place,
    request: Vec<u8>,
    provide: Options,
    client: Client,
    line: Option<Line>,
    /// When the line is closed.
    close: Time,
}

impl Keeper {
    /// Begins to ask for a lease.
    ///
    /// # Errors
    /// When namespace or interface are not there.
    pub(crate) fn new(settings: &Settings, add: &Add, now: Time) -> Result<Self, LineError> {
        let Add {
            key,
            netns,
            request,
            provide,
        } = add;
        let place = look(&settings.prefix, netns, &key.interface)?;
        let client = client(settings, key, &place, (request, provide), now);
        Ok(Self {
            key: key.clone(),
            place,
            request: request.clone(),
            provide: provide.clone(),
            client,
            line: None,
            close: now,
        })
    }

    /// Goes on with a lease of an earlier run. The first message is sent at `begin`.
    pub(crate) fn resume(settings: &Settings, record: Record, begin: Time) -> Self {
        let Record {
            key,
            place,
            request,
            provide,
            lease,
        } = record;
        let client = client(settings, &key, &place, (&request, &provide), begin);
        Self {
            client: client.resume(lease),
            key,
            place,
            request,
            provide,
            line: None,
            close: begin,
        }
    }

    /// The lease, while it is held.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.client.lease()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.client.is_over()
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// What is to be on disk; `None` without a lease.
    pub(crate) fn record(&self) -> Option<Record> {
        Some(Record {
            key: self.key.clone(),
            place: self.place.clone(),
            request: self.request.clone(),
            provide: self.provide.clone(),
            lease: self.lease()?.clone(),
        })
    }

    /// When [`Keeper::turn`] is to be called.
    pub(crate) fn due(&self) -> Option<Time> {
        let close = self.line.as_ref().map(|_| self.close);
        close.into_iter().chain(self.client.due()).min()
    }

    /// What is waited for packets of.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.line.as_ref().map(AsFd::as_fd)
    }

    /// Does what is due.
    pub(crate) fn turn(&mut self, settings: &Settings, now: Time) -> Event {
        if now >= self.close {
            self.line = None;
        }
        let step = self.client.tick(now, random::bits());
        self.follow(settings, step, now)
    }

    /// Reads what has come.
    pub(crate) fn receive(&mut self, settings: &Settings, now: Time) -> Event {
        for _ in 0..TURN {
            let Some(line) = &self.line else { break };
            match line.receive() {
                Ok(None) => break,
                Ok(Some(message)) => {
                    let step = self.client.receive(&message, now, random::bits());
                    let event = self.follow(settings, step, now);
                    if event != Event::Nothing {
                        return event;
                    }
                }
                Err(error) => {
                    // The interface is down or gone; the next message finds out which.
                    log::line(format_args!("{}: receive: {error}", self.key));
                    self.line = None;
                }
            }
        }
        Event::Nothing
    }

    /// Gives the lease back, if that can be: nobody waits for an answer, and there is none.
    pub(crate) fn release(&mut self, settings: &Settings) {
        let Some((release, net)) = self
            .client
            .release(random::bits())
            .zip(self.lease().map(|lease| lease.address))
        else {
            return;
        };
        self.line = None;
        let own = Some(net.addr());
        let sent = Line::open(&settings.prefix, &self.place, own)
            .and_then(|line| Ok(line.send_last(&release, net)?));
        match sent {
            Ok(()) => log::line(format_args!("{}: released {net}", self.key)),
            Err(error) => log::line(format_args!("{}: {net} is not released: {error}", self.key)),
        }
    }

    fn follow(&mut self, settings: &Settings, step: Step, now: Time) -> Event {
        match step {
            Step::Nothing => Event::Nothing,
            Step::Send(outgoing) => match self.send(settings, &outgoing, now) {
                Ok(()) => Event::Nothing,
                Err(LineError::Gone(why)) => Event::Gone(why),
                Err(LineError::Failed(why)) => {
                    let kind = outgoing.message.kind;
                    log::line(format_args!("{}: send {kind:?}: {why}", self.key));
                    Event::Nothing
                }
            },
            Step::Bound => {
                self.line = None;
                Event::Bound
            }
            Step::Failed(why) => Event::Failed(why),
            Step::Expired => {
                self.line = None;
                match set_down(&settings.prefix, &self.place) {
                    Err(LineError::Gone(why)) => Event::Gone(why),
                    Err(LineError::Failed(why)) => {
                        log::line(format_args!("{}: set down: {why}", self.key));
                        Event::Expired
                    }
                    Ok(()) => Event::Expired,
                }
            }
        }
    }

    fn send(
        &mut self,
        settings: &Settings,
        outgoing: &Outgoing,
        now: Time,
    ) -> Result<(), LineError> {
        let line = match self.line.take() {
            Some(line) => line,
            None => {
                let own = self.lease().map(|lease| lease.address.addr());
                Line::open(&settings.prefix, &self.place, own)?
            }
        };
        self.close = now + settings.timeout;
        let line = self.line.insert(line);
        line.send(outgoing).map_err(|error: io::Error| error.into())
    }
}

fn client(
    settings: &Settings,
    key: &Key,
    place: &Place,
    (request, provide): (&[u8], &Options),
    now: Time,
) -> Client {
    let identity = Identity {
        client_id: key.client_id(),
        hardware: place.hardware,
        broadcast: settings.broadcast || place.broadcast,
        request: request.to_vec(),
        provide: provide.clone(),
    };
    Client::new(identity, settings.timing, now, random::bits())
}
