//! The checks themselves: pure functions of the facts.

pub mod agent;
pub mod firewall;
pub mod host;
pub mod network;
pub mod pods;
pub mod surroundings;
pub mod underlay;

/// A number with its noun: `1 entry`, `2 entries`.
fn count(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}
