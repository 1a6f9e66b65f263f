//! Attachments of containers on the host: elements of the table that the CNI plugins share ([`CNI_TABLE`]) for
//! masquerading and host ports, what the host forwards, and the records from which they are restored.

mod cni;
mod digest;
pub mod forwarding;
pub mod hostport;
pub mod libcni;
pub mod live;
mod owner;
pub mod record;
pub mod reservation;
mod source;

pub use cni::{CNI_TABLE, cni_base};
use cni::{is_masquerading, masquerade_elements, masquerade_set, own_network_set};
pub use digest::sha512_hex;
pub use forwarding::{ForwardRecord, Isolation};
pub use hostport::{Claim, PortMapping, PortMasquerade, Publication};
pub use owner::Owner;
pub use record::{PortRecord, ROUTE_PROTOCOL, Record};
use source::{source_base, source_elements};
