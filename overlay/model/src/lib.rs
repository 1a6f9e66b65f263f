//! What exists: plain values without I/O. Nothing here names a file, a socket, a clock or a runtime.

pub mod admit;
pub mod annotations;
pub mod config;
pub mod dual;
pub mod host;
pub mod json;
pub mod lease;
pub mod link_name;
pub mod mac;
pub mod nearest;
pub mod node;
pub mod plugins;
pub mod presence;
pub mod seniority;
pub mod shown;
pub mod snapshot;
pub mod special;
pub mod subnet;
pub mod subnet_env;
pub mod uplink;
pub mod wire;

pub use admit::{Admission, Peer, PeerSide, Refusal};
pub use config::{ConfigError, NetworkConfig, Subnets};
pub use dual::{Dual, Family};
pub use host::{Host, OnLink};
pub use lease::{Lease, LeaseAttrs, SubnetKey};
pub use link_name::LinkName;
pub use mac::Mac;
pub use nearest::nearest;
pub use node::{Identity, LocalNode};
pub use seniority::Seniority;
pub use shown::shown;
pub use snapshot::ClusterSnapshot;
pub use subnet::Pool;
pub use uplink::Uplink;
