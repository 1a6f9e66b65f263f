//! Texts of which little has been changed.

use crate::source::Source;

/// One of these texts, in which up to three places have been changed: characters, numbers, a part doubled or lost.
pub fn changed(source: &mut Source, from: &[&str]) -> String {
    let mut bytes = source.pick(from).as_bytes().to_vec();
    for _ in 0..source.below(4) {
        let (at, len) = (source.below(bytes.len().max(1)), source.below(12));
        let end = (at + len).min(bytes.len());
        match source.below(6) {
            0 => drop(bytes.drain(at.min(end)..end)),
            1 => {
                let part = bytes[at.min(end)..end].to_vec();
                let place = source.below(bytes.len() + 1);
                bytes.splice(place..place, part);
            }
            2 => {
                let word = source.pick(&[
                    "null",
                    "-1",
                    "4294967296",
                    "1e9",
                    "[]",
                    "{}",
                    "\"\"",
                    "true",
                    "/33",
                    "::",
                ]);
                bytes.splice(at.min(end)..end, word.bytes());
            }
            3 => {
                let digits: Vec<usize> = (0..bytes.len())
                    .filter(|at| bytes[*at].is_ascii_digit())
                    .collect();
                if !digits.is_empty() {
                    let digit = source.pick(&digits);
                    bytes[digit] = b'0' + source.below(10) as u8;
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = source.byte();
                }
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
