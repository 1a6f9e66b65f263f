//! Whether the other nodes answer: echoes ([`echo`]) through the tunnel and, where none comes back, beside it. What to ask
//! when, and what follows from the answers, is in [`prober`], which knows no clock and no socket; [`thread`] has both.

pub mod echo;
pub mod health;
pub mod prober;
mod socket;
pub mod target;
pub mod thread;
