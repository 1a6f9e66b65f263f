//! Columns for people.

use tweed_model::shown::shortened;

/// The longest cell in bytes.
const CELL: usize = 1_000;

/// Lines with columns two blanks apart, as wide as their widest cell. The first line is the heads; an `optional` column
/// without anything below its head is left out.
pub fn render<const N: usize>(
    rows: impl IntoIterator<Item = [String; N]>,
    optional: &[usize],
) -> String {
    // What others wrote is not to act on the terminal, nor to look like lines of ours.
    let clean = |cell: String| shortened(&cell, CELL).into_owned();
    let rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(clean)).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let is_empty = |column: usize| rows.iter().skip(1).all(|row| row[column].is_empty());
    let left_out: [bool; N] =
        std::array::from_fn(|column| optional.contains(&column) && is_empty(column));
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).zip(left_out);
        let shown = cells.filter(|(_, left_out)| !left_out);
        let line: String = shown
            .map(|((cell, width), _)| format!("{cell:width$}  "))
            .collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_trailing_blanks() {
        let rows = [["A", "BB"], ["ccc", ""], ["ü", "d"]].map(|row| row.map(str::to_owned));
        assert_eq!(render(rows, &[1]), "A    BB\nccc\nü    d\n");
    }

    #[test]
    fn a_cell_with_control_characters_acts_on_no_terminal_and_makes_no_line() {
        let rows = [["A", "B"], ["x\n\u{1b}[2J", "y"]].map(|row| row.map(str::to_owned));
        let text = render(rows, &[]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("x\\n\\u{1b}[2J  y"), "{text}");
    }

    #[test]
    fn an_optional_column_of_which_nothing_is_known_is_left_out() {
        let rows = [["A", "B", "C"], ["a", "", "c"]].map(|row| row.map(str::to_owned));
        assert_eq!(render(rows.clone(), &[1]), "A  C\na  c\n");
        assert_eq!(render(rows, &[]), "A  B  C\na     c\n");
    }
}
