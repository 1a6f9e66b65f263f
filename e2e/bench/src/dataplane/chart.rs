//! The picture for the documents: a panel for each series, a bar for each mode, a line from the least to the greatest
//! figure. Plain SVG that is the same for the same figures, and can be read on a light and on a dark page.

use super::paths::{MODES, Mode};
use super::series::Series;

/// Series that are shown, and whether more is better.
const PANELS: [(&str, bool); 6] = [
    ("TCP, 1 stream", true),
    ("TCP, 4 streams", true),
    ("64-byte datagrams, 1 flow", true),
    ("64-byte datagrams, 4 flows", true),
    ("64 bytes there and back, UDP, median", false),
    ("processor time at 0.5 Gbit/s", false),
];

/// Sizes in pixels.
const WIDTH: u32 = 860;
const MARGIN: u32 = 16;
const PANEL: u32 = (WIDTH - 3 * MARGIN) / 2;
const TITLE: u32 = 30;
const STEP: u32 = 24;
const BAR: u32 = 16;
const LABEL: u32 = 110;
const VALUE: u32 = 78;
const HEIGHT: u32 = TITLE + MODES.len() as u32 * STEP + MARGIN;

const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #6e7781; }
.title { font-weight: 600; }
.hint { font-size: 11px; fill: #6e7781; }
.ours { fill: #1f77d0; }
.other { fill: #8c959f; fill-opacity: 0.6; }
.range { stroke: #6e7781; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #c9d1d9; }
  .hint { fill: #9198a1; }
  .ours { fill: #4c9ffe; }
  .range { stroke: #b1bac4; }
}
";

/// Draws the series that there are figures of.
pub fn svg(series: &[Series]) -> String {
    let found = |name: &str| series.iter().find(|series| series.what == name);
    let panels = PANELS
        .iter()
        .filter_map(|&(name, more)| Some((found(name)?, more)));
    let panels: Vec<_> = panels.collect();
    let rows = u32::try_from(panels.len().div_ceil(2)).unwrap_or(0);
    let height = MARGIN + rows * HEIGHT;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>Backend udp beside VXLAN, a naive loop and no overlay</title>\n<style>\n{STYLE}</style>\n"
    );
    for (number, (series, more)) in (0..).zip(panels) {
        let x = MARGIN + (number % 2) * (PANEL + MARGIN);
        let y = MARGIN + (number / 2) * HEIGHT;
        text += &format!("<g transform=\"translate({x} {y})\">\n");
        text += &panel(series, more);
        text += "</g>\n";
    }
    text + "</svg>\n"
}

fn panel(series: &Series, more: bool) -> String {
    let hint = if more {
        "more is better"
    } else {
        "less is better"
    };
    let mut text = format!(
        "<text class=\"title\" y=\"14\">{}</text>\n\
         <text class=\"hint\" x=\"{PANEL}\" y=\"14\" text-anchor=\"end\">{}, {hint}</text>\n",
        escape(series.what),
        escape(series.unit)
    );
    let greatest = MODES.iter().filter_map(|mode| series.range(*mode));
    let greatest = greatest.fold(0.0, |most: f64, (_, high)| most.max(high));
    let room = f64::from(PANEL - LABEL - VALUE);
    let scale = |value: f64| value / greatest.max(f64::MIN_POSITIVE) * room;
    for (line, mode) in (0..).zip(MODES) {
        let (top, base) = (TITLE + line * STEP, TITLE + line * STEP + 13);
        text += &format!("<text y=\"{base}\">{}</text>\n", escape(mode.name()));
        let (Some(middle), Some((low, high))) = (series.median(mode), series.range(mode)) else {
            text += &format!("<text class=\"hint\" x=\"{LABEL}\" y=\"{base}\">cannot</text>\n");
            continue;
        };
        let class = if mode == Mode::Udp { "ours" } else { "other" };
        let (width, center) = (scale(middle), top + BAR / 2);
        let left = f64::from(LABEL);
        let (from, to, after) = (
            left + scale(low),
            left + scale(high),
            left + scale(high) + 6.0,
        );
        text += &format!(
            "<rect class=\"{class}\" x=\"{LABEL}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\"/>\n\
             <line class=\"range\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{center}\" y2=\"{center}\"/>\n\
             <text x=\"{after:.1}\" y=\"{base}\">{middle:.*}</text>\n",
            series.digits
        );
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Vec<Series> {
        let mut series = vec![
            Series::new("TCP, 1 stream", "Gbit/s", 2),
            Series::new("64 bytes there and back, UDP, median", "µs & <more>", 0),
            Series::new("not shown", "", 0),
        ];
        for (number, mode) in MODES.into_iter().enumerate() {
            for one in &mut series {
                one.push(mode, Some(number as f64 + 1.5));
                one.push(mode, (mode != Mode::Naive).then_some(2.0));
            }
        }
        series
    }

    /// Names of the elements that are open at the end.
    fn left_open(text: &str) -> Vec<&str> {
        let mut open = Vec::new();
        for tag in text.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').expect("a tag ends");
            let name = tag
                .trim_start_matches('/')
                .split([' ', '/'])
                .next()
                .unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "in {text}");
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        }
        open
    }

    #[test]
    fn the_picture_is_well_formed_and_always_the_same() {
        let picture = svg(&figures());
        assert_eq!(picture, svg(&figures()));
        assert_eq!(left_open(&picture), Vec::<&str>::new());
        assert!(picture.starts_with("<svg xmlns="));
        let ampersands = picture.split('&').skip(1);
        assert!(
            ampersands
                .map(|rest| rest.split(';').next())
                .all(|name| { ["amp", "lt", "gt"].contains(&name.unwrap_or_default()) })
        );
        for number in picture.split("width=\"").skip(1) {
            let number: f64 = number.split('"').next().unwrap().parse().unwrap();
            assert!((0.0..=f64::from(PANEL)).contains(&number), "{number}");
        }
    }

    #[test]
    fn it_has_a_bar_for_each_mode_that_has_a_figure() {
        let picture = svg(&figures());
        assert_eq!(picture.matches("<rect").count(), 2 * (MODES.len() - 1));
        assert_eq!(picture.matches("class=\"ours\"").count(), 2);
        assert_eq!(picture.matches(">cannot<").count(), 2);
        assert!(!picture.contains("not shown"));
    }
}
