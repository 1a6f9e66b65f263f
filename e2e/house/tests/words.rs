//! Plain words: no riddles, no machine spoken of as a person, no line that is too long to read, no comment that repeats a
//! name. The list below gives the better word for each.
//!
//! Looked at are the prose of the documents and, in the sources, comments and names. Left out: what stands in backticks,
//! code blocks, texts in quotes.
#![allow(clippy::unwrap_used, reason = "a test fails where it fails")]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "words/source.rs"]
mod source;

use source::{comments, names, repeats_its_name};
use tweed_house::{documents, packages, root, rust_files};

/// Words, and what to say instead.
const WORDS: &[(&[&str], &str)] = &[
    (
        &["hear", "hears", "heard", "hearing"],
        "receive, read; `last_answer`, `received`",
    ),
    (&["deaf", "mute"], "say what is not received, or not sent"),
    (
        &["obey", "obeys", "obeyed"],
        "apply, follow, act on; `apply`, `handle`",
    ),
    (
        &["patient", "patience", "patiently"],
        "a timeout, a limit; `wait`, `timeout`",
    ),
    (
        &["complain", "complains", "complaint", "complaints"],
        "report, an error; `Error`",
    ),
    (
        &["believe", "believes", "believed"],
        "apply, store, take for; `accepted`, `confirmed`",
    ),
    (
        &["greet", "greets", "greeting"],
        "the first message, a keep-alive; `hello`, `handshake`",
    ),
    (&["dying", "newborn"], "`removed`, `created`"),
    (&["leash"], "`shutdown`"),
    (&["sift"], "filter, sort out"),
    (
        &["whoever", "whomever"],
        "name the program, the host or the user",
    ),
];

/// Words that begin no sentence.
const BEGINNINGS: &[&str] = &["Who", "Whoever", "Whose", "Whom"];

/// Characters in a line of prose.
const WIDTH: usize = 120;

/// Words of a text, in small letters: `be_patient` and `BePatient` have two.
fn words(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut before = ' ';
    for letter in text.chars() {
        let begins = letter.is_uppercase() && before.is_lowercase();
        if begins || !letter.is_alphabetic() {
            found.push(String::new());
        }
        if letter.is_alphabetic() {
            found.last_mut().unwrap().extend(letter.to_lowercase());
        }
        before = letter;
    }
    found.retain(|word| !word.is_empty());
    found
}

/// What is wrong with the words of a text.
fn wrong_words(text: &str) -> Vec<String> {
    let advice = |word: &String| {
        let row = WORDS.iter().find(|(row, _)| row.contains(&word.as_str()));
        row.map(|(_, better)| format!("\"{word}\": say {better}"))
    };
    words(text).iter().filter_map(advice).collect()
}

/// The sentences of a text that begin with a question word. Those that end with a question mark are none.
fn wrong_beginnings(text: &str) -> Vec<String> {
    let starts = text.trim_start_matches(|c: char| !c.is_alphabetic());
    let inside = text
        .match_indices(". ")
        .map(|(at, mark)| &text[at + mark.len()..]);
    let cells = text
        .match_indices("| ")
        .map(|(at, mark)| &text[at + mark.len()..]);
    let begins = |start: &str| {
        let word = start
            .split(|c: char| !c.is_alphabetic())
            .next()
            .unwrap_or_default();
        let is_question = start
            .split(['.', '|'])
            .next()
            .is_some_and(|end| end.contains('?'));
        (BEGINNINGS.contains(&word) && !is_question)
            .then(|| format!("a sentence begins with \"{word}\": put the subject first"))
    };
    [starts]
        .into_iter()
        .chain(inside)
        .chain(cells)
        .filter_map(begins)
        .collect()
}

/// A line without what stands in backticks, with a space for it.
fn without_code(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').step_by(2).collect();
    parts.join(" ")
}

/// Lines of prose: no code blocks. Numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fence && !fenced).then_some((index + 1, line))
    })
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// Sources of the packages, with their tests.
fn sources() -> Vec<PathBuf> {
    let folders = packages()
        .into_iter()
        .flat_map(|package| ["src", "tests"].map(|folder| root().join(&package).join(folder)));
    let mut files: Vec<_> = folders.flat_map(|folder| rust_files(&folder)).collect();
    // These files list the words.
    files.retain(|path| !shown(path).starts_with("e2e/house/tests/words"));
    files
}

#[test]
fn documents_speak_plainly() {
    let mut found = Vec::new();
    for document in documents() {
        for (number, line) in prose(&read(&document)) {
            let text = without_code(line);
            let wrong = [wrong_words(&text), wrong_beginnings(&text)].concat();
            found.extend(
                wrong
                    .iter()
                    .map(|why| format!("{}:{number}: {why}", shown(&document))),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_line_of_prose_is_too_long() {
    let is_long = |line: &str| {
        let text = line.trim_start();
        line.chars().count() > WIDTH && !text.starts_with('|') && !text.contains("](http")
    };
    let mut found = Vec::new();
    for document in documents() {
        let text = read(&document);
        // A single command or link can't be broken.
        let long = prose(&text).filter(|(_, line)| is_long(line) && line.matches('`').count() != 2);
        found.extend(long.map(|(number, _)| {
            format!(
                "{}:{number}: more than {WIDTH} characters",
                shown(&document)
            )
        }));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn comments_and_names_speak_plainly() {
    let mut found = Vec::new();
    for path in sources() {
        let text = read(&path);
        for (number, comment) in comments(&text) {
            let comment = without_code(comment);
            let wrong = [wrong_words(&comment), wrong_beginnings(&comment)].concat();
            found.extend(
                wrong
                    .iter()
                    .map(|why| format!("{}:{number}: {why}", shown(&path))),
            );
        }
        for (number, name) in names(&text) {
            let wrong = wrong_words(name);
            found.extend(
                wrong
                    .iter()
                    .map(|why| format!("{}:{number}: {why}", shown(&path))),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_doc_comment_repeats_its_name() {
    let mut found = Vec::new();
    for path in sources() {
        let text = read(&path);
        let repeats = repeats_its_name(&text, words);
        found.extend(repeats.into_iter().map(|(number, comment)| {
            format!(
                "{}:{number}: \"{comment}\" repeats the name: say more, or nothing",
                shown(&path)
            )
        }));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn these_tests_would_notice() {
    assert_eq!(
        words("be_patient, BePatient"),
        ["be", "patient", "be", "patient"]
    );
    assert_eq!(wrong_words("The kernel believes it, `obey`.").len(), 2);
    assert_eq!(
        wrong_words(&without_code("The kernel takes it, `obey`.")).len(),
        0
    );
    assert_eq!(
        wrong_beginnings("- Whoever asks gets it. Who does not, waits.").len(),
        2
    );
    assert_eq!(
        wrong_beginnings("- Whose mistake is it? A pod that asks, whose rest is none.").len(),
        0
    );
    let text = "/// The peers.\n#[x]\npub peers: u8, // heard\nfn obey() { \"heard\" }\n/// The other peers.\npeers: u8";
    assert_eq!(repeats_its_name(text, words), [(1, "The peers.")]);
    let all: Vec<_> = comments(text).map(|(number, _)| number).collect();
    assert_eq!(all, [1, 3, 5]);
    assert!(names(text).any(|(number, name)| number == 4 && name == "obey"));
    assert!(!names(text).any(|(_, name)| name == "heard"));
}
