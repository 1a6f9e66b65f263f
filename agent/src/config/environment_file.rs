//! A file of variables as systemd reads it (`EnvironmentFile=`): quotes, escapes and comments by its rules, so that a
//! command understands the unit's file as the unit does. A comment has a line of its own; behind a value it is a part
//! of the value.

use std::collections::BTreeMap;

/// Where in a line the reader is.
#[derive(Clone, Copy)]
enum At {
    LineStart,
    Comment { escaped: bool },
    Name,
    BeforeValue,
    Value,
    Escaped,
    Single,
    Double { escaped: bool },
}

/// The variables of a file; of one that is set twice, the last value. What is no assignment is passed over.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    let mut reader = Reader {
        at: At::LineStart,
        name: String::new(),
        value: String::new(),
        kept: 0,
        found: BTreeMap::new(),
    };
    for c in text.chars().filter(|c| *c != '\r') {
        reader.take(c);
    }
    if !matches!(reader.at, At::LineStart | At::Comment { .. } | At::Name) {
        reader.assign();
    }
    reader.found
}

struct Reader {
    at: At,
    name: String,
    value: String,
    /// Bytes of the value that are no blanks at its end.
    kept: usize,
    found: BTreeMap<String, String>,
}

impl Reader {
    fn take(&mut self, c: char) {
        self.at = match (self.at, c) {
            (At::LineStart, '#' | ';') => At::Comment { escaped: false },
            (At::LineStart, c) if c.is_whitespace() => At::LineStart,
            (At::LineStart, c) => {
                self.name = c.to_string();
                At::Name
            }
            (At::Comment { escaped: false }, '\n') | (At::Name, '\n') => At::LineStart,
            (At::Comment { escaped }, c) => At::Comment {
                escaped: !escaped && c == '\\',
            },
            (At::Name, '=') => {
                self.value.clear();
                self.kept = 0;
                At::BeforeValue
            }
            (At::Name, c) => {
                self.name.push(c);
                At::Name
            }
            (At::BeforeValue | At::Value, '\n') => {
                self.assign();
                At::LineStart
            }
            (At::BeforeValue, '\'') => At::Single,
            (At::BeforeValue, '"') => At::Double { escaped: false },
            (At::BeforeValue | At::Value, '\\') => At::Escaped,
            (At::BeforeValue, c) if c.is_whitespace() => At::BeforeValue,
            (At::BeforeValue | At::Value, c) => self.push(c, !c.is_whitespace(), At::Value),
            (At::Escaped, '\n') => At::Value,
            (At::Escaped, c) => self.push(c, true, At::Value),
            (At::Single, '\'') | (At::Double { escaped: false }, '"') => At::BeforeValue,
            (At::Single, c) => self.push(c, true, At::Single),
            (At::Double { escaped: false }, '\\') => At::Double { escaped: true },
            (At::Double { escaped: true }, '\n') => At::Double { escaped: false },
            (At::Double { escaped }, c) => {
                if escaped && !matches!(c, '"' | '\\' | '`' | '$') {
                    self.value.push('\\');
                }
                self.push(c, true, At::Double { escaped: false })
            }
        };
    }

    fn push(&mut self, c: char, keep: bool, next: At) -> At {
        self.value.push(c);
        if keep {
            self.kept = self.value.len();
        }
        next
    }

    fn assign(&mut self) {
        self.value.truncate(self.kept);
        let name = self.name.trim_end().to_owned();
        self.found.insert(name, std::mem::take(&mut self.value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        let found = parse(text);
        assert_eq!(found.len(), 1, "{text:?}: {found:?}");
        found["A"].clone()
    }

    #[test]
    fn values_are_read_as_systemd_reads_them() {
        for (text, expected) in [
            ("A=b", "b"),
            ("A=b\r\n", "b"),
            ("  A = b c \t\n", "b c"),
            ("A=b  # no comment", "b  # no comment"),
            ("# A=x\n; A=y\nA=b\n", "b"),
            ("# goes on \\\nA=x\nA=b", "b"),
            ("A='b \"c\" $d\\e '", "b \"c\" $d\\e "),
            ("A=\"b \\\"c\\\" \\$d \\e \"", "b \"c\" $d \\e "),
            ("A=\"two\nlines\"", "two\nlines"),
            ("A=one\\\ntwo", "onetwo"),
            ("A=^10\\.0\\.", "^10.0."),
            ("A='^10\\.0\\.'", "^10\\.0\\."),
            ("A='b''c'd", "bcd"),
            ("A=b'c'", "b'c'"),
            ("A=", ""),
            ("A=1\nA=2", "2"),
            ("no assignment\nA=b", "b"),
            ("A='open", "open"),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
        assert!(parse("export").is_empty());
    }

    #[test]
    fn no_text_of_these_characters_is_too_strange() {
        let letters = ['A', '=', '\'', '"', '\\', '\n', ' ', '#', 'ü'];
        for number in 0..9_u32.pow(5) {
            let letter = |place: u32| letters[(number / 9_u32.pow(place) % 9) as usize];
            let text: String = (0..5).map(letter).collect();
            let found = parse(&text);
            assert!(found.values().map(String::len).sum::<usize>() <= text.len());
        }
    }
}
