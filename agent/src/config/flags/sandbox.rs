//! The flag for what the daemon gives up.

use super::flag::Flag;
use super::flag::Takes::Switch;

pub static SANDBOX: Flag = Flag::new(
    "sandbox",
    Switch,
    "Before the work begins, give up writing elsewhere than in the agent's own folders, starting programs, and system calls that the agent has no use for",
)
.default("true")
.ours();
