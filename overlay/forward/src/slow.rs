//! For tests: checksums a word at a time, to compare with.

/// RFC 1071: zero over bytes that hold a right checksum.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Makes an IPv4 header's checksum right, where there is such a header.
pub fn fix_header(bytes: &mut [u8]) {
    let Some(first) = bytes.first().copied() else {
        return;
    };
    let len = usize::from(first & 15) * 4;
    if first >> 4 != 4 || len < 20 || bytes.len() < len {
        return;
    }
    bytes[10..12].fill(0);
    let sum = checksum(&bytes[..len]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
}
