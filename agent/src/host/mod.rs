//! This host: its uplink, its addresses and networks, other daemons on it, and the locks by which an agent is the only one
//! of its network.

pub mod claims;
pub mod facts;
pub mod flanneld;
pub mod lock;
pub mod presence;
pub mod uplink;
