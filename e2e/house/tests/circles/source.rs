//! What a file of Rust names: its child modules, what it imports, the paths in its code, and the items that it defines.
//! Read by words, not by a parser: enough for code that rustfmt has laid out.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::vec::IntoIter;

/// A path as it is written, without what it is renamed to.
pub(crate) type Tree = Vec<String>;

/// What a file names.
#[derive(Default)]
pub(crate) struct Source {
    /// Modules that stand in files of their own.
    pub(crate) children: BTreeSet<String>,
    /// Imports, each with its whole path.
    pub(crate) uses: Vec<Tree>,
    /// Paths in the code that begin in this crate or in a child module.
    pub(crate) paths: Vec<Tree>,
    /// Names of items.
    pub(crate) items: BTreeSet<String>,
}

impl Source {
    /// Reads a file's text.
    pub(crate) fn read(text: &str) -> Self {
        let mut source = Self::default();
        let mut words = words(text).into_iter().peekable();
        while let Some(word) = words.next() {
            match word.as_str() {
                "#" => attribute(&mut words),
                "use" => imports(&mut words, &Vec::new(), &mut source.uses),
                "mod" => {
                    let name = words.next().unwrap_or_default();
                    if words.next_if(|word| word == ";").is_some() {
                        source.children.insert(name);
                    }
                }
                "struct" | "enum" | "trait" | "fn" | "type" | "const" | "static" | "union" => {
                    source.items.extend(words.peek().cloned());
                }
                first if is_name(first) && words.peek().is_some_and(|next| next == "::") => {
                    let path = path(first, &mut words);
                    source.paths.push(path);
                }
                _ => {}
            }
        }
        source
    }
}

type Words = Peekable<IntoIter<String>>;

/// The rest of an attribute, and the item behind it where that is for tests alone.
fn attribute(words: &mut Words) {
    let is_inner = words.next_if(|word| word == "!").is_some();
    let mut inside = Vec::new();
    let mut depth = 0;
    for word in words.by_ref() {
        match word.as_str() {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => inside.push(word),
        }
        if depth == 0 {
            break;
        }
    }
    let inside = inside.concat();
    let is_test = inside.starts_with("cfg(") && inside.contains("test");
    if is_test && !is_inner && !inside.contains("not(test") {
        skip_item(words);
    }
}

/// An item up to its end: a semicolon, or the brace that closes it.
fn skip_item(words: &mut Words) {
    let mut depth = 0;
    for word in words.by_ref() {
        match word.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && (word == ";" || word == "}") {
            return;
        }
    }
}

/// The paths of an import, behind `use` or within its braces.
fn imports(words: &mut Words, before: &Tree, found: &mut Vec<Tree>) {
    let mut tree = before.clone();
    while let Some(word) = words.next() {
        match word.as_str() {
            "::" => {}
            "{" => {
                while words.peek().is_some_and(|word| word != "}") {
                    imports(words, &tree, found);
                    if words.next_if(|word| word == ",").is_none() {
                        break;
                    }
                }
                words.next_if(|word| word == "}");
                tree.clear();
            }
            "as" => {
                // The name by which it is passed on.
                let name = words.next().unwrap_or_default();
                found.push(tree.clone());
                tree.pop();
                tree.push(name);
            }
            _ => tree.push(word),
        }
        let ends = |next: &String| matches!(next.as_str(), "," | "}" | ";");
        if words.peek().is_none_or(ends) {
            break;
        }
    }
    if tree.last().is_some_and(|last| last == "self") {
        tree.pop();
    }
    if tree.len() > before.len() || (!tree.is_empty() && tree == *before) {
        found.push(tree);
    }
}

/// A path in the code from its first name on.
fn path(first: &str, words: &mut Words) -> Tree {
    let mut path = vec![first.to_owned()];
    while words.next_if(|word| word == "::").is_some() {
        match words.next_if(|word| is_name(word)) {
            Some(name) => path.push(name),
            None => break,
        }
    }
    path
}

fn is_name(word: &str) -> bool {
    let mut letters = word.chars();
    letters
        .next()
        .is_some_and(|first| first.is_alphabetic() || first == '_')
}

/// Names and signs; no comments, texts, characters or lifetimes.
fn words(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(letter) = letters.get(at).copied() {
        let next = letters.get(at + 1).copied();
        match (letter, next) {
            ('/', Some('/')) => at += length(&letters[at..], |rest| rest.starts_with(&['\n'])),
            ('/', Some('*')) => {
                at += length(&letters[at..], |rest| rest.starts_with(&['*', '/'])) + 2;
            }
            ('r', Some('"' | '#')) if raw_text(&letters[at..]).is_some() => {
                at += raw_text(&letters[at..]).unwrap_or(1);
            }
            ('"', _) => at += quoted(&letters[at..]),
            ('\'', _) => at += character(&letters[at..]),
            (':', Some(':')) => {
                found.push("::".to_owned());
                at += 2;
            }
            _ if letter.is_alphanumeric() || letter == '_' => {
                let name = |letter: &char| letter.is_alphanumeric() || *letter == '_';
                let word: String = letters[at..]
                    .iter()
                    .copied()
                    .take_while(|l| name(l))
                    .collect();
                at += word.chars().count();
                found.push(word);
            }
            _ => {
                if !letter.is_whitespace() {
                    found.push(letter.to_string());
                }
                at += 1;
            }
        }
    }
    found
}

/// How many letters come before the end.
fn length(letters: &[char], is_end: impl Fn(&[char]) -> bool) -> usize {
    (0..letters.len())
        .find(|at| is_end(&letters[*at..]))
        .unwrap_or(letters.len())
}

/// The length of a text with its quotes.
fn quoted(letters: &[char]) -> usize {
    let mut at = 1;
    while let Some(letter) = letters.get(at) {
        match letter {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// The length of a raw text such as `r#"…"#`.
fn raw_text(letters: &[char]) -> Option<usize> {
    let hashes = letters[1..]
        .iter()
        .take_while(|letter| **letter == '#')
        .count();
    if letters.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    let inside = length(&letters[hashes + 2..], |rest| rest.starts_with(&end));
    Some(hashes + 2 + inside + end.len())
}

/// The length of a character, or 1 for the sign of a lifetime.
fn character(letters: &[char]) -> usize {
    match letters {
        [_, '\\', rest @ ..] => {
            3 + length(&rest[1.min(rest.len())..], |rest| rest.starts_with(&['\''])) + 1
        }
        [_, _, '\'', ..] => 3,
        _ => 1,
    }
}
