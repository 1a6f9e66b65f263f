//! `tweedd events`

use std::time::Duration;

use clap::Args;

use super::output::OutputArgs;
use crate::config::go_values;
use crate::events::kind::Kind;

/// `tweedd events`
#[derive(Clone, Debug, Args)]
pub struct EventsArgs {
    /// Only those of the last time: seconds, or a number with s, m, h or d
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub since: Option<Duration>,
    /// Only those of this kind; may be given several times
    #[arg(long = "kind", value_name = "KIND", value_enum)]
    pub kinds: Vec<Kind>,
    /// Only the last so many
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<usize>,
    /// Go on, and print each one as it happens
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// How to print; with --follow a JSON document a line
    #[command(flatten)]
    pub output: OutputArgs,
}

fn span(text: &str) -> Result<Duration, String> {
    let days = |days: &str| {
        let days = days.parse::<u32>().ok()?;
        Some(Duration::from_hours(24) * days)
    };
    let span = match text.strip_suffix('d') {
        Some(number) => days(number),
        None => go_values::duration(text),
    };
    span.ok_or_else(|| "a number of seconds, or a number with s, m, h or d, such as 90m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_seconds_or_has_a_unit() {
        let seconds = |text| span(text).map(|span| span.as_secs()).ok();
        assert_eq!(
            ["90", "5m", "2h", "3d", "", "d", "-1d", "5 m"].map(seconds),
            [
                Some(90),
                Some(300),
                Some(7_200),
                Some(259_200),
                None,
                None,
                None,
                None
            ]
        );
    }
}
