//! What a client says about itself, and what it has to send. Pure.

use std::net::Ipv4Addr;

use tweed_model::Mac;

use crate::message::{Kind, Message, Options, code};

/// The longest message that is taken, in bytes.
const LARGEST: u16 = 1472;

/// What a client says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The value of option 61.
    pub client_id: Vec<u8>,
    pub hardware: Mac,
    /// Whether answers have to go to everybody on the link.
    pub broadcast: bool,
    /// Options that it asks for.
    pub request: Vec<u8>,
    /// Options that it sends. They replace its own.
    pub provide: Options,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub to: Destination,
    pub message: Message,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// All of the link, from no address.
    Link,
    /// One server, from the client's address.
    Server { from: Ipv4Addr, to: Ipv4Addr },
}

impl Identity {
    /// A message with what every one but RELEASE has.
    pub fn message(&self, kind: Kind, xid: u32, secs: u16) -> Message {
        let mut options = self.provide.clone();
        let own = || self.client_id.clone();
        options.entry(code::CLIENT_ID).or_insert_with(own);
        let largest = || LARGEST.to_be_bytes().to_vec();
        options.entry(code::LARGEST).or_insert_with(largest);
        if !self.request.is_empty() {
            options.insert(code::REQUEST_LIST, self.request.clone());
        }
        Message {
            kind,
            xid,
            secs,
            broadcast: self.broadcast,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            hardware: self.hardware,
            options,
        }
    }

    /// The value of option 61 that it sends.
    pub fn client_id(&self) -> &[u8] {
        let provided = self.provide.get(&code::CLIENT_ID);
        provided.unwrap_or(&self.client_id)
    }
}
