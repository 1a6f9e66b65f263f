//! `resolv.conf`, as far as CNI can express it.

use crate::spec::Dns;

/// Reads the text of a `resolv.conf`. Lines that CNI has no place for are passed over; the last `domain` wins.
pub(crate) fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let keyword = words.next();
        match keyword.as_deref() {
            Some("nameserver") => dns.nameservers.extend(words.next()),
            Some("domain") => dns.domain = words.next().unwrap_or_default(),
            Some("search") => dns.search.extend(words),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_are_read_and_comments_are_not() {
        let dns = parse(
            "# comment\n; other\nnameserver 192.0.2.0\n nameserver 192.0.2.1\ndomain example.com\n\
             search a.example b.example\noptions four five\noptions six\nnonsense\nnameserver\n",
        );
        let expected = Dns {
            nameservers: vec!["192.0.2.0".into(), "192.0.2.1".into()],
            domain: "example.com".into(),
            search: vec!["a.example".into(), "b.example".into()],
            options: vec!["four".into(), "five".into(), "six".into()],
        };
        assert_eq!(dns, expected);
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        assert!(parse("").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_and_what_is_found_stands_in_it(text in "((nameserver|domain|search|options|#)?(?s).{0,12}\n?){0,6}") {
            let dns = parse(&text);
            let found = [dns.nameservers, dns.search, dns.options, vec![dns.domain]].concat();
            proptest::prop_assert!(found.iter().all(|word| text.contains(word.as_str())));
        }
    }
}
