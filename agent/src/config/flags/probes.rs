//! The flag for echoes to the other nodes.

use super::flag::Flag;
use super::flag::Takes::Switch;

pub static PROBES: Flag = Flag::new(
    "probes",
    Switch,
    "Ask the other nodes again and again whether they answer: an echo (ICMP) through the tunnel, and beside it where none comes back",
)
.default("true")
.ours();
