//! flannel's command lines, rewritten so that clap reads them as Go's `flag` package would.
//!
//! One dash is as good as two, a switch takes its value only after an equals sign, any other flag takes the next word
//! whatever it looks like, a flag given twice counts as given last, and reading stops at the first word that is no flag.

use crate::config::flags::{self, Takes};

/// A command line that clap understands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// The words for clap, without the program's name.
    pub words: Vec<String>,
    /// Words after the first that is no flag: flanneld ignores them silently.
    pub ignored: Vec<String>,
}

/// Rewrites the words that follow the program's name. `commands` are the names of the subcommands.
///
/// Without a subcommand in front the line is one for the daemon, as flanneld's are, and is read by Go's rules. After a
/// subcommand's name only the dashes are put right.
pub fn rewrite(words: &[String], commands: &[String]) -> Rewritten {
    match words.split_first() {
        Some((first, rest)) if first == "run" => {
            let mut line = daemon(rest);
            line.words.insert(0, first.clone());
            line
        }
        Some((first, rest)) if commands.contains(first) => Rewritten {
            words: [first.clone()]
                .into_iter()
                .chain(rest.iter().map(|word| two_dashes(word)))
                .collect(),
            ignored: Vec::new(),
        },
        // A mistyped command must not start the daemon: clap names the one that was meant.
        Some((first, _)) if !first.starts_with('-') => Rewritten {
            words: words.to_vec(),
            ignored: Vec::new(),
        },
        _ => daemon(words),
    }
}

fn daemon(words: &[String]) -> Rewritten {
    let mut out = Rewritten::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" || word == "-" || !word.starts_with('-') {
            out.ignored.extend((word != "--").then(|| word.clone()));
            out.ignored.extend(rest.cloned());
            break;
        }
        let word = match bare(word) {
            // A mistyped flag gets both dashes too, so that clap can say which one was meant.
            Some(name) if name.chars().count() > 1 || flags::find(name).is_some() => {
                format!("-{word}")
            }
            _ => word.clone(),
        };
        let takes = word.strip_prefix("--").and_then(flags::find);
        match takes.map(|flag| flag.takes) {
            Some(Takes::One(_) | Takes::Many(_)) => match rest.next() {
                Some(value) => out.words.push(format!("{word}={value}")),
                None => out.words.push(word),
            },
            _ => out.words.push(word),
        }
    }
    out
}

/// Doubles the dash in front of a flag of ours. Other words stay: a subcommand has short options that may be joined.
fn two_dashes(word: &str) -> String {
    match bare(word) {
        Some(name) if flags::find(name).is_some() || matches!(name, "help" | "version") => {
            format!("-{word}")
        }
        _ => word.to_owned(),
    }
}

/// The name in a word with a single dash, up to the equals sign.
fn bare(word: &str) -> Option<&str> {
    let name = word.strip_prefix('-')?;
    if name.starts_with('-') {
        return None;
    }
    Some(name.split_once('=').map_or(name, |(name, _)| name))
}

#[cfg(test)]
mod tests;
