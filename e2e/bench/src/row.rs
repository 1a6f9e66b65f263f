//! The lines of the result, and the value in the middle.

use std::time::Duration;

use tweed_lab::report::{self, Table};

/// One line of the result.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    pub ours: String,
    /// What it is compared with.
    pub other: String,
    /// The comparison.
    pub ratio: String,
    /// What the comparison should be.
    pub goal: String,
    /// Whether it is; nothing where there is no goal.
    pub met: Option<bool>,
}

impl Row {
    /// Ours takes at most `most` times as long as the other.
    pub fn at_most(what: &str, ours: Duration, other: (&str, Duration), most: f64) -> Self {
        let ratio = ours.as_secs_f64() / other.1.as_secs_f64();
        Self {
            what: what.to_owned(),
            ours: report::duration(ours),
            other: format!("{} {}", other.0, report::duration(other.1)),
            ratio: format!("{ratio:.2}"),
            goal: format!("≤ {}", (most * 100.0).round() / 100.0),
            met: Some(ratio <= most),
        }
    }

    /// Ours is at least `least` times the other, in this unit.
    pub fn at_least(what: &str, ours: f64, other: (&str, f64), unit: &str, least: f64) -> Self {
        let ratio = ours / other.1;
        Self {
            what: what.to_owned(),
            ours: format!("{ours:.1} {unit}"),
            other: format!("{} {:.1} {unit}", other.0, other.1),
            ratio: format!("{ratio:.3}"),
            goal: format!("≥ {least}"),
            met: Some(ratio >= least),
        }
    }

    /// Told for what it is; nothing was promised.
    pub fn without_goal(self) -> Self {
        Self {
            goal: String::new(),
            met: None,
            ..self
        }
    }

    /// Ours stays below a bound.
    pub fn below(what: &str, ours: f64, unit: &str, digits: usize, bound: f64) -> Self {
        Self {
            what: what.to_owned(),
            ours: format!("{ours:.digits$} {unit}"),
            other: String::new(),
            ratio: String::new(),
            goal: format!("≤ {bound} {unit}"),
            met: Some(ours <= bound),
        }
    }
}

/// The rows as a table.
pub fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["what", "Tweed", "beside it", "ratio", "goal", ""]);
    for row in rows {
        table.row([
            row.what.as_str(),
            &row.ours,
            &row.other,
            &row.ratio,
            &row.goal,
            match row.met {
                None => "",
                Some(true) => "met",
                Some(false) => "**missed**",
            },
        ]);
    }
    table
}

/// The value in the middle.
///
/// # Panics
/// When there is none.
pub fn median<T: PartialOrd + Copy>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    *sorted
        .get(sorted.len() / 2)
        .expect("a measurement has values")
}
