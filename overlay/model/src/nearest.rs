//! Which known word a misspelt one may be.

/// The known word that differs by the fewest letters, if those are few: at most one in three, and three at most. A
/// letter that is missing, too much, another one, or exchanged with its neighbour counts as one. Case does not count.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    let word: Vec<char> = word.to_lowercase().chars().collect();
    if word.len() > LONGEST {
        return None;
    }
    let allowed = (word.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| {
            let letters: Vec<char> = name.to_lowercase().chars().collect();
            (distance(&word, &letters), name)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A key that means nothing, with the one that may be meant.
pub fn unknown_key(key: &str, known: &[&str]) -> String {
    let shown = super::shown(key);
    match nearest(key, known.iter().copied()) {
        Some(name) => format!("{shown} ({name}?)"),
        None => shown.into_owned(),
    }
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let differs = usize::from(letter != other);
            let mut least = (last[j] + differs).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *other && b[j - 1] == *letter {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_leads_to_the_one_that_is_meant() {
        let known = [
            "Network",
            "IPv6Network",
            "SubnetLen",
            "SubnetMin",
            "Backend",
            "MTU",
        ];
        for (word, meant) in [
            ("Netwrok", Some("Network")),
            ("Netwok", Some("Network")),
            ("SubnetLength", Some("SubnetLen")),
            ("BackEnds", Some("Backend")),
            ("MUT", Some("MTU")),
            ("Comment", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
        assert_eq!(nearest(&"N".repeat(1 << 20), known), None);
    }
}
