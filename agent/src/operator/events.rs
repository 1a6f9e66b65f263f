//! `tweedd events`: what the running agent knows of what has happened; without one, what its file says.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::client::Agent;
use super::print;
use super::table;
use super::times;
use crate::config::cli::{EventsArgs, Output};
use crate::config::options::Options;
use crate::daemon::clock;
use crate::events::document::Events;
use crate::events::event::Event;
use crate::files::state_dir::StateDir;

/// How often new events are asked for.
const LOOK: Duration = Duration::from_millis(500);

/// Prints the events; with `--follow` until a signal ends the command, or nobody reads on.
///
/// # Errors
/// When neither the agent nor its file can be read.
pub fn events(options: &Options, silent: Option<&str>, args: &EventsArgs) -> Result<()> {
    let all = known(options, silent, 0)?;
    let mut last = all.last().map_or(0, |event| event.number);
    let now = clock::seconds();
    let shown = chosen(all, args, now);
    if args.output.output == Output::Json && !args.follow {
        return print::print(Output::Json, &Events::from(shown), String::new);
    }
    match args.output.output {
        Output::Text => print::line(&listed(&shown, now))?,
        Output::Json => documents(&shown)?,
    }
    while args.follow && print::is_read() {
        thread::sleep(LOOK);
        // It may be being restarted.
        let Ok(news) = known(options, None, last) else {
            continue;
        };
        last = news.last().map_or(last, |event| event.number);
        let news = chosen(news, args, clock::seconds());
        match args.output.output {
            Output::Text => news
                .iter()
                .try_for_each(|event| print::line(&row(event, clock::seconds()).join("  ")))?,
            Output::Json => documents(&news)?,
        }
    }
    Ok(())
}

/// The events after the one with this number: from the agent, or its file.
fn known(options: &Options, silent: Option<&str>, after: u64) -> Result<Vec<Event>> {
    let agent = match silent {
        Some(_) => None,
        None => Agent::connect(&options.host.socket)?,
    };
    let Some(agent) = agent else {
        let saved = StateDir::at(&options.host.state_dir).events();
        let mut saved = saved.context("read the events that the agent has kept")?;
        saved.retain(|event| event.number > after);
        return Ok(saved);
    };
    let answer = agent.ask("GET", &format!("/v1/events?after={after}"))?;
    let answer: Events = serde_json::from_str(&answer).context("read the agent's answer")?;
    Ok(answer.events)
}

/// Those that were asked for.
fn chosen(mut events: Vec<Event>, args: &EventsArgs, now: u64) -> Vec<Event> {
    let since = args
        .since
        .map_or(0, |span| now.saturating_sub(span.as_secs()));
    let is_meant = |event: &Event| args.kinds.is_empty() || args.kinds.contains(&event.kind);
    events.retain(|event| event.at >= since && is_meant(event));
    let beyond = args
        .count
        .map_or(0, |count| events.len().saturating_sub(count));
    events.drain(..beyond);
    events
}

fn documents(events: &[Event]) -> Result<()> {
    events.iter().try_for_each(|event| {
        let text = serde_json::to_string(event).context("encode the event")?;
        print::line(&text)
    })
}

fn listed(events: &[Event], now: u64) -> String {
    if events.is_empty() {
        return "no events".to_owned();
    }
    let head = ["TIME", "KIND", "EVENT"].map(str::to_owned);
    let rows = events.iter().map(|event| row(event, now));
    table::render(std::iter::once(head).chain(rows), &[])
}

/// When, what kind, and the sentence.
fn row(event: &Event, now: u64) -> [String; 3] {
    let times = match (event.times, event.first) {
        (times @ 2.., Some(first)) => {
            let since = times::moment(first, now);
            format!(" ({times} times since {since})")
        }
        _ => String::new(),
    };
    [
        times::moment(event.at, now),
        event.kind.row().word.to_owned(),
        format!("{event}{times}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cli::OutputArgs;
    use crate::events::kind::Kind;

    fn event(number: u64, kind: Kind) -> Event {
        Event {
            number,
            at: 1_000 + number,
            ..Event::new(kind, &format!("sentence {number}"))
        }
    }

    fn args() -> EventsArgs {
        EventsArgs {
            since: None,
            kinds: Vec::new(),
            count: None,
            follow: false,
            output: OutputArgs::default(),
        }
    }

    #[test]
    fn what_is_asked_for_is_chosen_and_of_that_the_last() {
        let all = || {
            vec![
                event(1, Kind::Repair),
                event(2, Kind::Fight),
                event(3, Kind::Repair),
            ]
        };
        let numbers = |args: &EventsArgs| {
            let chosen = chosen(all(), args, 1_010);
            chosen.iter().map(|event| event.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&args()), [1, 2, 3]);
        let kinds = vec![Kind::Repair];
        assert_eq!(numbers(&EventsArgs { kinds, ..args() }), [1, 3]);
        let count = Some(2);
        assert_eq!(numbers(&EventsArgs { count, ..args() }), [2, 3]);
        let since = Some(Duration::from_secs(8));
        assert_eq!(numbers(&EventsArgs { since, ..args() }), [2, 3]);
    }

    #[test]
    fn a_row_says_when_what_and_how_often() {
        let often = Event {
            times: 12,
            first: Some(1_000),
            ..event(60, Kind::Repair)
        };
        assert_eq!(
            listed(&[event(1, Kind::Ready), often], 2_000),
            "TIME          KIND    EVENT\n\
             00:16:41 UTC  ready   sentence 1\n\
             00:17:40 UTC  repair  sentence 60 (12 times since 00:16:40 UTC)\n"
        );
        assert_eq!(listed(&[], 0), "no events");
    }
}
