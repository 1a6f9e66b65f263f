//! Random numbers that no other node draws: MAC addresses, the numbers of etcd leases, subnets, delays.
//!
//! They come from the kernel. A generator that is seeded by clock and thread will not do: of two agents that started in
//! the same tick, both drew the same MAC, and neither took the other for a peer (seen in the lab).

/// 64 random bits.
///
/// # Panics
/// If neither the system call nor `/dev/urandom` gives any, as the standard library does for its hash keys.
pub fn bits() -> u64 {
    getrandom::u64().expect("Linux has had getrandom since 3.17")
}

/// A random part of one: at least 0, below 1.
pub fn fraction() -> f64 {
    // As many bits as the number holds exactly.
    (bits() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_number_comes_twice_in_any_thread() {
        let draw = || (0..1000).map(|_| bits()).collect::<Vec<u64>>();
        let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(draw)).collect();
        let all = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        assert_eq!(all.collect::<BTreeSet<u64>>().len(), 8000);
    }

    #[test]
    fn fractions_are_spread_over_the_whole_range() {
        let drawn: Vec<f64> = (0..10_000).map(|_| fraction()).collect();
        assert!(drawn.iter().all(|part| (0.0..1.0).contains(part)));
        let mean = drawn.iter().sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
    }
}
