//! The UDP sockets of the underlay: what they send and receive, and what the kernel knows of the paths.

mod address;
mod datagrams;
mod errors;
mod handed;
mod joined;
pub mod loopback;
mod path_mtu;
mod receiving;
mod sending;
mod shared;

pub use self::datagrams::{Port, Sent, Socket};
pub use self::errors::UnderlayError;
pub use self::handed::SocketFds;
pub use self::receiving::Received;
