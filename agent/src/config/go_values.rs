//! Values as Go's `flag` package spells them, and durations.

use std::time::Duration;

/// What a boolean may look like.
pub const BOOLEANS: &str = "true or false (also 1, t, T, TRUE, True, 0, f, F, FALSE, False)";

/// Reads a boolean as Go's `strconv.ParseBool` does.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads an integer as Go's `strconv.ParseInt(text, 0, 64)` does: a sign, a prefix `0x`, `0o`, `0b` or a leading `0` for
/// octal, and single underscores between digits or after the prefix, where there is a prefix.
pub fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = radix(digits)?;
    let magnitude = i128::from(u64::from_str_radix(&digits, radix).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

fn radix(text: &str) -> Option<(u32, String)> {
    let lower = text.to_ascii_lowercase();
    let (radix, rest) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    // After a prefix an underscore may stand, as in 0x_ff; Go allows it between the digits of a plain number too.
    let rest = match radix {
        10 => rest,
        _ => rest.strip_prefix('_').unwrap_or(rest),
    };
    let misplaced = rest.starts_with('_') || rest.ends_with('_') || rest.contains("__");
    let digits = rest.replace('_', "");
    let plain = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    (plain && !misplaced).then_some((radix, digits))
}

/// Reads a span of time: whole seconds, or a whole number followed by `s`, `m` or `h`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1),
        b'm' => (&text[..text.len() - 1], 60),
        b'h' => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let seconds = u64::try_from(integer(number)?).ok()?.checked_mul(unit)?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_spelled_as_in_go() {
        for text in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(boolean(text), Some(true), "{text}");
        }
        for text in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(boolean(text), Some(false), "{text}");
        }
        for text in ["", "yes", "no", "on", "tRUE", " true", "2"] {
            assert_eq!(boolean(text), None, "{text}");
        }
    }

    #[test]
    fn integers_are_spelled_as_in_go() {
        for (text, value) in [
            ("0", 0),
            ("60", 60),
            ("+60", 60),
            ("-1", -1),
            ("0x1F91", 8081),
            ("0X1f91", 8081),
            ("0o17621", 8081),
            ("017621", 8081),
            ("0b101", 5),
            ("1_000", 1000),
            ("0x_ff", 255),
            ("0_7", 7),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text), Some(value), "{text}");
        }
        for text in [
            "",
            "-",
            "+",
            "0x",
            "_1",
            "1_",
            "1__0",
            "08",
            "1.0",
            "1e3",
            " 1",
            "--1",
            "+-1",
            "0x+1",
            "9223372036854775808",
            "six",
        ] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_is_seconds_or_has_a_unit() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("2m", 120),
            ("24h", 86400),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "1d",
            "1.5h",
            "1h30m",
            "ü",
            "9223372036854775807h",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
