//! User data: the bytes that netfilter keeps beside a rule or an element for the program that wrote it. They are a list of
//! type (1 byte), length (1 byte), value. Type 0 is the comment that `nft list` prints; readers skip types they don't
//! know, so ours travels beside it (seen with nft 1.0.6 and iptables-nft 1.8.9).

/// The longest comment in bytes that nft prints, without the closing zero byte.
pub const COMMENT_MAX: usize = 127;

/// libnftnl's type of a comment; the same number for tables, rules and elements.
const COMMENT: u8 = 0;
/// Ours: a rule's fingerprint, 8 bytes in network order. The letter T; far above what nft uses.
const FINGERPRINT: u8 = 84;

/// A comment, and nothing else.
pub fn comment(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 3);
    push_comment(&mut bytes, text);
    bytes
}

/// A rule's comment (left out when empty) and fingerprint.
pub fn rule(text: &str, fingerprint: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 13);
    if !text.is_empty() {
        push_comment(&mut bytes, text);
    }
    bytes.extend([FINGERPRINT, 8]);
    bytes.extend(fingerprint.to_be_bytes());
    bytes
}

/// The fingerprint in a rule's user data.
pub(crate) fn read_fingerprint(userdata: &[u8]) -> Option<u64> {
    let value = find(userdata, FINGERPRINT)?;
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

/// The comment in user data.
pub(crate) fn read_comment(userdata: &[u8]) -> Option<&str> {
    let value = find(userdata, COMMENT)?;
    std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
}

/// The part of a comment that fits, cut between characters. Quotes and control characters, which would break `nft
/// list`'s output, become spaces.
pub(crate) fn cut_comment(text: &str) -> String {
    let mut cut = String::with_capacity(text.len().min(COMMENT_MAX));
    for c in text.chars() {
        let c = if c == '"' || c == '\\' || c.is_control() {
            ' '
        } else {
            c
        };
        if cut.len() + c.len_utf8() > COMMENT_MAX {
            break;
        }
        cut.push(c);
    }
    cut
}

fn push_comment(bytes: &mut Vec<u8>, text: &str) {
    let text = cut_comment(text);
    bytes.push(COMMENT);
    bytes.push(u8::try_from(text.len() + 1).expect("a cut comment is short"));
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn find(mut userdata: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [kind, len, rest @ ..] = userdata {
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;
        if *kind == wanted {
            return Some(value);
        }
        userdata = rest;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comment_and_fingerprint_are_read_back_from_one_another_s_side() {
        let bytes = rule("pods leave masqueraded", 0x0123_4567_89ab_cdef);
        assert_eq!(read_comment(&bytes), Some("pods leave masqueraded"));
        assert_eq!(read_fingerprint(&bytes), Some(0x0123_4567_89ab_cdef));
        assert_eq!(read_fingerprint(&comment("theirs")), None);
    }

    #[test]
    fn a_long_comment_is_cut_between_characters() {
        let cut = cut_comment(&"ü".repeat(100));
        assert_eq!(cut, "ü".repeat(63));
    }

    #[test]
    fn truncated_user_data_holds_nothing() {
        assert_eq!(read_fingerprint(&[FINGERPRINT, 8, 1, 2]), None);
        assert_eq!(read_comment(&[COMMENT]), None);
        assert_eq!(read_comment(&[]), None);
    }
}
