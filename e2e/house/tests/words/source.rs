//! Comments and names of a Rust source, line by line: enough for code that rustfmt has laid out.

/// A line's code, with its texts in quotes left out, and its comment.
fn parts(line: &str) -> (Vec<&str>, Option<&str>) {
    let mut code = Vec::new();
    let (mut start, mut quoted) = (0, false);
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' if at == 0 || bytes[at - 1] != b'\'' => {
                if !quoted {
                    code.push(&line[start..at]);
                }
                quoted = !quoted;
                start = at + 1;
            }
            b'/' if !quoted && bytes.get(at + 1) == Some(&b'/') => {
                code.push(&line[start..at]);
                return (code, Some(line[at..].trim_start_matches(['/', '!'])));
            }
            _ => {}
        }
        at += 1;
    }
    if !quoted {
        code.push(&line[start.min(line.len())..]);
    }
    (code, None)
}

/// The comments, with their lines, numbered from 1.
pub(crate) fn comments(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate();
    lines.filter_map(|(index, line)| Some((index + 1, parts(line).1?)))
}

/// The names in the code, with their lines.
pub(crate) fn names(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    text.lines().enumerate().flat_map(move |(index, line)| {
        let code = parts(line).0;
        let all: Vec<&str> = code
            .into_iter()
            .flat_map(|code| code.split(move |c| !is_name(c)))
            .filter(|name| !name.is_empty())
            .collect();
        all.into_iter().map(move |name| (index + 1, name))
    })
}

/// Words that say nothing by themselves.
const EMPTY: &[&str] = &["a", "all", "an", "its", "own", "that", "the", "this"];

/// Doc comments of one line that have no word which the name below does not have, with their lines.
pub(crate) fn repeats_its_name(
    text: &str,
    words: impl Fn(&str) -> Vec<String>,
) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let doc = |index: usize| lines.get(index).and_then(|line| line.strip_prefix("/// "));
    let mut found = Vec::new();
    for index in 0..lines.len() {
        let above = index.checked_sub(1).and_then(doc);
        let (Some(comment), None, None) = (doc(index), above, doc(index + 1)) else {
            continue;
        };
        let below = lines[index + 1..]
            .iter()
            .find(|line| !line.starts_with("#["));
        let name = below.map(|line| words(name_of(line))).unwrap_or_default();
        let said = words(comment);
        let more = |word: &String| !EMPTY.contains(&word.as_str()) && !name.contains(word);
        if !said.is_empty() && !comment.contains('`') && !said.iter().any(more) {
            found.push((index + 1, comment));
        }
    }
    found
}

/// The name of an item, a field or a variant.
fn name_of(line: &str) -> &str {
    const BEFORE: [&str; 12] = [
        "pub",
        "pub(crate)",
        "pub(super)",
        "fn",
        "struct",
        "enum",
        "trait",
        "type",
        "const",
        "static",
        "async",
        "mod",
    ];
    let mut words = line.split(' ').skip_while(|word| BEFORE.contains(word));
    let word = words.next().unwrap_or_default();
    word.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or_default()
}
