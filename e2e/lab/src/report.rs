//! Output for people: headings, lines, and tables that line up.

use std::io::IsTerminal;
use std::time::Duration;

/// Whether to colour.
fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn paint(code: &str, text: &str) -> String {
    if colour() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

pub fn bold(text: &str) -> String {
    paint("1", text)
}

/// Green.
pub fn good(text: &str) -> String {
    paint("32", text)
}

/// Red.
pub fn bad(text: &str) -> String {
    paint("31", text)
}

/// Grey.
pub fn faint(text: &str) -> String {
    paint("2", text)
}

/// A duration with three significant digits.
pub fn duration(value: Duration) -> String {
    let micros = value.as_secs_f64() * 1e6;
    match micros {
        m if m < 1e3 => format!("{m:.0} µs"),
        m if m < 1e6 => format!("{:.*} ms", digits(m / 1e3), m / 1e3),
        m => format!("{:.*} s", digits(m / 1e6), m / 1e6),
    }
}

fn digits(value: f64) -> usize {
    match value {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    }
}

/// A table whose cells may be coloured; printed with columns that line up, or as Markdown.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head.
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self::default();
        table.row(head);
        table
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether there is nothing but the head.
    pub fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }

    /// For a terminal, each line indented.
    pub fn terminal(&self, indent: &str) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| {
                let padded = format!("{cell}{}", " ".repeat(width - visible(cell)));
                if number == 0 { faint(&padded) } else { padded }
            });
            let line = cells.collect::<Vec<_>>().join("   ");
            text += &format!("{indent}{}\n", line.trim_end());
        }
        text
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell}{}", " ".repeat(width - visible(cell))));
            text += &format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
            if number == 0 {
                let rule = widths.iter().map(|&width| "-".repeat(width));
                text += &format!("| {} |\n", rule.collect::<Vec<_>>().join(" | "));
            }
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| visible(cell)).max().unwrap_or(0)
            })
            .collect()
    }
}

/// Characters that show: colour sequences do not.
fn visible(cell: &str) -> usize {
    let mut count = 0;
    let mut hidden = false;
    for character in cell.chars() {
        match (hidden, character) {
            (false, '\x1b') => hidden = true,
            (true, 'm') => hidden = false,
            (false, _) => count += 1,
            (true, _) => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let mut table = Table::new(["a", "long head"]);
        table.row(["\x1b[32mgreen\x1b[0m", "1"]);
        assert_eq!(
            table.markdown(),
            "| a     | long head |\n| ----- | --------- |\n| \x1b[32mgreen\x1b[0m | 1         |\n"
        );
    }

    #[test]
    fn durations_keep_three_digits() {
        let shown = [40, 1_234, 45_670, 456_700, 2_500_000]
            .map(|micros| duration(Duration::from_micros(micros)));
        assert_eq!(shown, ["40 µs", "1.23 ms", "45.7 ms", "457 ms", "2.50 s"]);
    }
}
