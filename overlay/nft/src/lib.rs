//! The firewall as values: what our nftables table should hold, and how that differs from what it holds.
//! `render` turns values into nfnetlink messages, `live` sends them and reads tables back.

mod change;
mod element_bytes;
#[cfg(any(test, feature = "test-util"))]
pub mod example;
pub mod fingerprint;
mod guard;
mod inner;
mod input;
mod keeping;
pub mod legacy;
pub mod live;
pub mod passage;
mod policy;
pub mod render;
pub mod rule;
pub mod ruleset;
mod sources;
mod state;
mod text;
mod too_big;
mod tunnel;
pub mod userdata;
pub mod xt;

pub use change::{Change, diff};
pub use element_bytes::ElementBytes;
pub use fingerprint::rule_fingerprint;
pub use input::{Mark, Masquerade, PolicyInput, PolicyNetwork, Tunnels};
pub use policy::agent_ruleset;
pub use render::{Element, Message, change_messages};
pub use ruleset::{HookPoint, Ruleset};
pub use state::{ChainState, ForeignForward, SetState, TableState};
pub use tunnel::{INPUT_CHAIN, POD_BRIDGE, peer_set, tunnel_chain};
