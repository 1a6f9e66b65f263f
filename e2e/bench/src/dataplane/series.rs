//! Figures of all modes, and how they are shown.

use std::collections::BTreeMap;

use super::paths::Mode;
use crate::row::median;
use tweed_lab::report::Table;

/// One kind of figure, for every mode it was taken of.
#[derive(Clone, Debug)]
pub struct Series {
    /// What was measured.
    pub what: &'static str,
    /// In what.
    pub unit: &'static str,
    /// Places behind the point.
    pub digits: usize,
    /// The figures. None where the mode could not do it at all.
    pub cells: BTreeMap<Mode, Vec<Option<f64>>>,
}

impl Series {
    /// One without figures.
    pub fn new(what: &'static str, unit: &'static str, digits: usize) -> Self {
        Self {
            what,
            unit,
            digits,
            cells: BTreeMap::new(),
        }
    }

    /// Adds a figure.
    pub fn push(&mut self, mode: Mode, value: Option<f64>) {
        self.cells.entry(mode).or_default().push(value);
    }

    /// The middle one of a mode's figures; none when there are none, or one of them could not be had.
    pub fn median(&self, mode: Mode) -> Option<f64> {
        self.sorted(mode).map(|values| median(&values))
    }

    /// The middle one of the rounds' ratios of one mode's figure to another's. They were taken one after the other, so what
    /// slowed the machine down for a while slowed both.
    pub fn ratio(&self, ours: Mode, other: Mode) -> Option<f64> {
        let rounds = self.cells.get(&ours)?.iter().zip(self.cells.get(&other)?);
        let ratios: Option<Vec<f64>> = rounds
            .map(|(ours, other)| Some((*ours)? / (*other)?))
            .collect();
        ratios
            .filter(|ratios| !ratios.is_empty())
            .map(|ratios| median(&ratios))
    }

    /// Least and greatest, where there is a median.
    pub fn range(&self, mode: Mode) -> Option<(f64, f64)> {
        let sorted = self.sorted(mode)?;
        Some((sorted[0], sorted[sorted.len() - 1]))
    }

    /// Least, middle and greatest.
    pub fn cell(&self, mode: Mode) -> String {
        if !self.cells.contains_key(&mode) {
            return String::new();
        }
        let Some(values) = self.sorted(mode) else {
            return "cannot".to_owned();
        };
        let digits = self.digits;
        let (least, most) = (values[0], values[values.len() - 1]);
        format!(
            "{least:.digits$} / **{:.digits$}** / {most:.digits$}",
            median(&values)
        )
    }

    fn sorted(&self, mode: Mode) -> Option<Vec<f64>> {
        let values: Option<Vec<f64>> = self.cells.get(&mode)?.iter().copied().collect();
        let mut values = values.filter(|values| !values.is_empty())?;
        values.sort_by(f64::total_cmp);
        Some(values)
    }
}

/// A line for each series, a column for each mode.
pub fn table(series: &[Series], modes: &[Mode]) -> Table {
    let head = ["", "unit"]
        .into_iter()
        .chain(modes.iter().map(|mode| mode.name()));
    let mut table = Table::new(head);
    for one in series {
        let cells = modes.iter().map(|mode| one.cell(*mode));
        table.row(
            [one.what.to_owned(), one.unit.to_owned()]
                .into_iter()
                .chain(cells),
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_the_least_the_middle_and_the_greatest() {
        let mut series = Series::new("speed", "m/s", 1);
        for value in [3.0, 1.0, 2.0] {
            series.push(Mode::Udp, Some(value));
        }
        assert_eq!(series.cell(Mode::Udp), "1.0 / **2.0** / 3.0");
        assert_eq!(series.median(Mode::Udp), Some(2.0));
        series.push(Mode::Naive, Some(1.0));
        series.push(Mode::Naive, None);
        assert_eq!(
            (
                series.cell(Mode::Naive).as_str(),
                series.median(Mode::Naive)
            ),
            ("cannot", None)
        );
        assert_eq!(series.cell(Mode::Bare), "");
    }

    #[test]
    fn a_ratio_is_that_of_the_same_round() {
        let mut series = Series::new("speed", "m/s", 1);
        // The machine was ten times as slow in the second round.
        for (ours, other) in [(20.0, 10.0), (3.0, 1.0), (50.0, 20.0)] {
            series.push(Mode::Udp, Some(ours));
            series.push(Mode::ByHand, Some(other));
        }
        assert_eq!(series.ratio(Mode::Udp, Mode::ByHand), Some(2.5));
        assert_eq!(series.ratio(Mode::Udp, Mode::Bare), None);
        series.push(Mode::Udp, Some(1.0));
        series.push(Mode::ByHand, None);
        assert_eq!(series.ratio(Mode::Udp, Mode::ByHand), None, "it could not");
    }
}
