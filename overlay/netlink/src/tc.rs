//! Traffic control, as far as limits of bandwidth need it: a token bucket at an interface's way out, and what comes in
//! by an interface led to another one's way out.

use std::fmt;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption,
    TcActionType, TcAttribute, TcFilterU32, TcFilterU32Option, TcHandle, TcMessage, TcMirror,
    TcOption, TcU32Key, TcU32Selector, TcU32SelectorFlags,
};

use rtnetlink::LinkIfb;

use super::attributes::{attribute, attributes, number, text};
use super::error::{NetlinkError, Object};
use super::{Dev, Netlink};

/// `RTM_NEWQDISC`, `RTM_NEWTFILTER`.
const NEW_QDISC: u16 = 36;
const NEW_FILTER: u16 = 44;
/// `TCA_KIND`, `TCA_OPTIONS`; those of an action have the same numbers.
const KIND: u16 = 1;
const OPTIONS: u16 = 2;

const BUCKET: &str = "tbf";
const INGRESS: &str = "ingress";

/// The handle of the bucket: `1:`.
const BUCKET_HANDLE: TcHandle = TcHandle { major: 1, minor: 0 };
/// The handle of what comes in: `ffff:`.
const INGRESS_HANDLE: TcHandle = TcHandle {
    major: 0xffff,
    minor: 0,
};

/// `TCA_TBF_PARMS`, `TCA_TBF_RATE64`.
const PARAMETERS: u16 = 1;
const RATE64: u16 = 4;
/// `struct tc_tbf_qopt`: two `struct tc_ratespec` of 12 bytes, of which the rate is the last four; limit; buffer; MTU.
const PARAMETERS_LEN: usize = 36;
const RATE: usize = 8;
const LIMIT: usize = 24;
const BUFFER: usize = 28;

/// A token bucket filter: `tc qdisc … tbf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Bytes a second.
    pub rate: u64,
    /// The size of the bucket as the time that it takes to fill, in ticks of 64 ns.
    pub buffer: u32,
    /// The longest queue, in bytes, what the bucket holds included.
    pub limit: u32,
}

/// What becomes of what comes in by an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Nothing looks at it.
    Unfiltered,
    /// All of it is led to the interface of this index, 0 if that is gone.
    LedTo(u32),
    /// Other filters look at it.
    Filtered,
}

impl Netlink {
    /// Has what leaves by an interface go through a token bucket, or changes the one that is there.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn put_token_bucket(
        &mut self,
        dev: Dev<'_>,
        bucket: &TokenBucket,
    ) -> Result<(), NetlinkError> {
        let mut message = qdisc(dev, TcHandle::ROOT, BUCKET_HANDLE, BUCKET);
        message.attributes.push(bucket.options());
        let what = format_args!("limit what leaves by {} to {bucket}", dev.name);
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.change(
            Object::Qdisc,
            what,
            Message::NewQueueDiscipline(message),
            flags,
        )
    }

    /// The token bucket of an interface; none if there is none, or it is not at the root.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn token_bucket(&mut self, dev: Dev<'_>) -> Result<Option<TokenBucket>, NetlinkError> {
        let request = Message::GetQueueDiscipline(of_index(dev));
        let what = format_args!("list queueing disciplines of {}", dev.name);
        // The kernel lists those of all interfaces.
        let read = |payload: &[u8]| {
            let (header, rest) = Header::read(payload)?;
            let at_root = header.index == dev.index && header.parent == u32::from(TcHandle::ROOT);
            at_root.then(|| TokenBucket::read(rest)).flatten()
        };
        let found = self.dump_raw(Object::Qdisc, what, request, NEW_QDISC, read)?;
        Ok(found.into_iter().next())
    }

    /// Removes the token bucket, if there is one. A discipline of another kind or another handle stays.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn del_token_bucket(&mut self, dev: Dev<'_>) -> Result<(), NetlinkError> {
        let message = qdisc(dev, TcHandle::ROOT, BUCKET_HANDLE, BUCKET);
        let what = format_args!("remove the limit of what leaves by {}", dev.name);
        self.del_qdisc(what, message)
    }

    /// Creates a device of kind `ifb`, up, without a queue of its own: what is led to it passes its queueing discipline.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken.
    pub fn add_ifb(&mut self, name: &str, mtu: u32) -> Result<(), NetlinkError> {
        let device = LinkIfb::new(name).mtu(mtu).txqueuelen(0).up();
        self.add_link(format_args!("add ifb device {name}"), device.build())
    }

    /// Leads all that comes in by an interface to another's way out, as if it left by that one. It comes back from there
    /// to where it was.
    ///
    /// # Errors
    /// `EEXIST` when something looks at what comes in already.
    pub fn add_redirect(&mut self, dev: Dev<'_>, to: Dev<'_>) -> Result<(), NetlinkError> {
        let ingress = qdisc(dev, TcHandle::INGRESS, INGRESS_HANDLE, INGRESS);
        let what = format_args!("look at what comes in by {}", dev.name);
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let ingress = Message::NewQueueDiscipline(ingress);
        self.change(Object::Qdisc, what, ingress, flags)?;
        let what = format_args!("lead what comes in by {} to {}", dev.name, to.name);
        let filter = Message::NewTrafficFilter(redirect(dev, to));
        let led = self.change(Object::Qdisc, what, filter, flags);
        if led.is_err() {
            // The error that counts is the first.
            let _ = self.del_redirect(dev);
        }
        led
    }

    /// What becomes of what comes in by an interface.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn incoming(&mut self, dev: Dev<'_>) -> Result<Incoming, NetlinkError> {
        let mut request = of_index(dev);
        request.header.parent = INGRESS_HANDLE;
        let what = format_args!("list filters of {}", dev.name);
        let request = Message::GetTrafficFilter(request);
        let found = self.dump_raw(Object::Qdisc, what, request, NEW_FILTER, incoming)?;
        Ok(match found.as_slice() {
            [] => Incoming::Unfiltered,
            [only] => *only,
            _ => Incoming::Filtered,
        })
    }

    /// Removes what looks at what comes in by an interface, with its filters, if it is there. That of another kind stays.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn del_redirect(&mut self, dev: Dev<'_>) -> Result<(), NetlinkError> {
        let message = qdisc(dev, TcHandle::INGRESS, INGRESS_HANDLE, INGRESS);
        let what = format_args!("stop looking at what comes in by {}", dev.name);
        self.del_qdisc(what, message)
    }

    /// The kernel compares kind and handle before it deletes.
    fn del_qdisc(
        &mut self,
        what: impl fmt::Display,
        message: TcMessage,
    ) -> Result<(), NetlinkError> {
        const NOT_THERE: [i32; 3] = [libc::ENOENT, libc::EINVAL, libc::ENODEV];
        let message = Message::DelQueueDiscipline(message);
        match self.change(Object::Qdisc, what, message, 0) {
            Err(error) if NOT_THERE.contains(&error.errno) => Ok(()),
            deleted => deleted,
        }
    }
}

impl TokenBucket {
    fn options(&self) -> TcAttribute {
        let mut parameters = vec![0; PARAMETERS_LEN];
        let mut put = |at: usize, value: u32| {
            parameters[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        put(RATE, u32::try_from(self.rate).unwrap_or(u32::MAX));
        put(LIMIT, self.limit);
        put(BUFFER, self.buffer);
        let mut options = vec![DefaultNla::new(PARAMETERS, parameters)];
        if self.rate > u64::from(u32::MAX) {
            options.push(DefaultNla::new(RATE64, self.rate.to_ne_bytes().to_vec()));
        }
        TcAttribute::Options(options.into_iter().map(TcOption::Other).collect())
    }

    fn read(attributes: &[u8]) -> Option<Self> {
        if attribute(attributes, KIND).map(text)? != BUCKET {
            return None;
        }
        let options = attribute(attributes, OPTIONS)?;
        let parameters = attribute(options, PARAMETERS)?;
        let number = |at: usize| number(parameters.get(at..at + 4)?);
        let rate = attribute(options, RATE64).and_then(|value| value.try_into().ok());
        Some(Self {
            rate: rate.map_or(number(RATE)?.into(), u64::from_ne_bytes),
            limit: number(LIMIT)?,
            buffer: number(BUFFER)?,
        })
    }
}

/// `struct tcmsg`, as far as it matters.
struct Header {
    index: u32,
    handle: u32,
    parent: u32,
}

impl Header {
    /// Reads it, and returns what follows: the attributes.
    fn read(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = payload.split_at_checked(20)?;
        let header = Self {
            index: number(&header[4..8])?,
            handle: number(&header[8..12])?,
            parent: number(&header[12..16])?,
        };
        Some((header, rest))
    }
}

fn of_index(dev: Dev<'_>) -> TcMessage {
    // The kernel's own type: an index is never that large.
    TcMessage::with_index(i32::try_from(dev.index).unwrap_or(i32::MAX))
}

fn qdisc(dev: Dev<'_>, parent: TcHandle, handle: TcHandle, kind: &str) -> TcMessage {
    let mut message = of_index(dev);
    message.header.parent = parent;
    message.header.handle = handle;
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message
}

/// A filter that takes every packet, as Go's plugin makes it: `u32 match u32 0 0`, the action `mirred egress redirect`.
fn redirect(dev: Dev<'_>, to: Dev<'_>) -> TcMessage {
    const PRIORITY: u32 = 1;
    const ALL_PROTOCOLS: u16 = 3;
    let mut message = of_index(dev);
    message.header.parent = INGRESS_HANDLE;
    message.header.info = PRIORITY << 16 | u32::from(ALL_PROTOCOLS.to_be());
    let mut everything = TcU32Selector::default();
    everything.flags = TcU32SelectorFlags::Terminal;
    everything.nkeys = 1;
    everything.keys = vec![TcU32Key::default()];
    let mut mirror = TcMirror::default();
    mirror.generic.action = TcActionType::Stolen;
    mirror.ifindex = to.index;
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
        TcActionAttribute::Options(vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(
            mirror,
        ))]),
    ];
    let class = TcHandle { major: 1, minor: 1 };
    message.attributes = vec![
        TcAttribute::Kind(TcFilterU32::KIND.to_owned()),
        TcAttribute::Options(
            [
                TcFilterU32Option::ClassId(class),
                TcFilterU32Option::Selector(everything),
                TcFilterU32Option::Action(vec![action]),
            ]
            .map(TcOption::U32)
            .to_vec(),
        ),
    ];
    message
}

/// What one message of a list of filters says; none if it is no filter but a table of them.
fn incoming(payload: &[u8]) -> Option<Incoming> {
    /// `TCA_U32_DIVISOR`, `TCA_U32_SEL`, `TCA_U32_ACT`.
    const DIVISOR: u16 = 4;
    const SELECTOR: u16 = 5;
    const ACTIONS: u16 = 7;
    let (header, rest) = Header::read(payload)?;
    let options = attribute(rest, OPTIONS)?;
    if header.handle == 0 {
        return None;
    }
    if attribute(rest, KIND).map(text)? != TcFilterU32::KIND {
        return Some(Incoming::Filtered);
    }
    if attribute(options, DIVISOR).is_some() {
        return None;
    }
    let takes_all = attribute(options, SELECTOR).is_some_and(takes_all);
    let mut actions = attribute(options, ACTIONS).into_iter().flat_map(attributes);
    let target = actions.find_map(|(_, action)| mirrored_to(action));
    let led = target.filter(|_| takes_all).map(Incoming::LedTo);
    Some(led.unwrap_or(Incoming::Filtered))
}

/// `struct tc_u32_sel`, whose keys of 16 bytes each begin with the mask.
fn takes_all(selector: &[u8]) -> bool {
    let keys = selector.get(16..).unwrap_or_default();
    keys.chunks_exact(16).all(|key| key[..4] == [0; 4])
}

fn mirrored_to(action: &[u8]) -> Option<u32> {
    /// `TCA_MIRRED_PARMS`, and in it the index behind `struct tc_gen` and the action.
    const PARAMETERS: u16 = 2;
    const INDEX: usize = 24;
    if attribute(action, KIND).map(text)? != TcActionMirror::KIND {
        return None;
    }
    let parameters = attribute(attribute(action, OPTIONS)?, PARAMETERS)?;
    number(parameters.get(INDEX..INDEX + 4)?)
}

impl fmt::Display for TokenBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, .. } = self;
        write!(f, "{rate} bytes a second")
    }
}
