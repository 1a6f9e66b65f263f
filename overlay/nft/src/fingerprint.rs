//! A number for each rule that is the same in every process and version: FNV-1a over exactly the expressions that go
//! to the kernel, and the comment. A new version that renders a rule otherwise gets another number, and replaces it.

use netlink_packet_core::Emitable;

use super::render::rule_expressions;
use super::ruleset::Rule;
use super::userdata::cut_comment;

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a, 64 bits.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    })
}

/// The fingerprint of a rule; never 0, which stands for a rule that isn't ours.
pub fn rule_fingerprint(rule: &Rule) -> u64 {
    let expressions = rule_expressions(rule);
    let expressions = expressions.as_slice();
    let mut bytes = vec![0; expressions.buffer_len()];
    expressions.emit(&mut bytes);
    bytes.extend(cut_comment(&rule.comment).as_bytes());
    fnv1a(&bytes).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_equals_the_published_vectors() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
