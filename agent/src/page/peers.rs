//! The other nodes: how many answer how, those that don't in words, and all of them in a grid.

use std::cmp::Reverse;
use std::time::Duration;

use tweed_model::Dual;
use tweed_probe::health::State;

use super::markup::Markup;
use crate::daemon::peers::{Peer, Standing};
use crate::daemon::probing::words;
use crate::daemon::status::Status;
use crate::operator::times::ago;

/// So many have a cell of the grid.
const CELLS: usize = 1_000;
/// So many cells have room for words.
const WORDY: usize = 60;

/// How a node is shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Good,
    Unknown,
    Warn,
    Bad,
}

/// Writes the section.
pub(super) fn section(page: &mut Markup, status: &Status, now: u64) {
    page.raw("<section id=\"peers\"><h2>Other nodes</h2>\n");
    counts(page, status);
    bad(page, status, now);
    if let Some(peers) = &status.peer_list {
        grid(page, peers, status.peers_left_out);
    }
    page.raw("</section>\n");
}

/// Whether packets to any of them are lost.
pub(super) fn are_lost(status: &Status) -> bool {
    !status.bad_peers.is_empty()
}

fn counts(page: &mut Markup, status: &Status) {
    page.raw("<p class=\"counts\">");
    let total = match status.peers {
        1 => "1 node".to_owned(),
        many => format!("{many} nodes"),
    };
    page.element("<span>", &total, "</span>");
    for (state, count) in &status.peer_states {
        span(page, look_of(*state));
        page.text(&format!("{count} {}", words::state(*state)));
        page.raw("</span>");
    }
    if !status.refused.is_empty() {
        let refused = status.refused.len() + status.more_bad_entries;
        page.element(
            "<span class=\"bad\">",
            &format!("{refused} refused"),
            "</span>",
        );
    }
    page.raw("</p>\n");
}

/// Those that packets don't reach, or not all packets.
fn bad(page: &mut Markup, status: &Status, now: u64) {
    if status.bad_peers.is_empty() {
        return;
    }
    page.raw("<div class=\"wide\"><table><thead><tr><th>peer<th>subnet<th>answer<th>since<th></tr></thead>\n");
    for peer in &status.bad_peers {
        let probe = &peer.probe;
        page.raw("<tr class=\"bad\">");
        page.element("<td>", &joined(&peer.public), "");
        page.element("<td>", &joined(&peer.subnets), "");
        page.element("<td>", words::state(probe.state), "");
        page.element("<td>", &ago(probe.since, now), "");
        let note = probe.note.as_deref();
        page.element("<td>", note.unwrap_or_default(), "</tr>\n");
    }
    page.raw("</table></div>\n");
}

/// The bad ones first.
fn grid(page: &mut Markup, peers: &[Peer], left_out: usize) {
    let mut shown: Vec<(Look, &Peer)> = peers.iter().map(|peer| (look(peer), peer)).collect();
    shown.sort_by_key(|(look, _)| Reverse(*look));
    let wordy = shown.len() <= WORDY;
    page.raw(match wordy {
        true => "<ol class=\"cards\">\n",
        false => "<ol class=\"dots\">\n",
    });
    for (look, peer) in shown.iter().take(CELLS) {
        page.raw(match look {
            Look::Good => "<li class=\"good\"",
            Look::Unknown => "<li class=\"unknown\"",
            Look::Warn => "<li class=\"warn\"",
            Look::Bad => "<li class=\"bad\"",
        });
        let (name, subnets, answer) = (name(peer), joined(&peer.subnets), answer(peer));
        let title = format!("{name}, {subnets}, {}: {answer}", peer.backend);
        page.raw(" title=\"").text(&title).raw("\">");
        if wordy {
            page.element("<b>", &name, "</b>");
            page.element("<span>", &subnets, "</span>");
            page.element("<em>", &answer, "</em>");
        }
        page.raw("</li>\n");
    }
    page.raw("</ol>\n");
    let more = left_out + shown.len().saturating_sub(CELLS);
    if more > 0 {
        page.element("<p>", &format!("and {more} more"), "</p>\n");
    }
}

fn span(page: &mut Markup, look: Look) {
    page.raw(match look {
        Look::Good => "<span class=\"good\">",
        Look::Unknown => "<span class=\"unknown\">",
        Look::Warn => "<span class=\"warn\">",
        Look::Bad => "<span class=\"bad\">",
    });
}

fn look(peer: &Peer) -> Look {
    match (peer.state, &peer.probe) {
        (Standing::Refused | Standing::Held, _) => Look::Bad,
        (Standing::Peer, Some(probe)) => look_of(probe.state),
        (Standing::Reserved, _) | (Standing::Peer, None) => Look::Unknown,
    }
}

fn look_of(state: State) -> Look {
    match state {
        State::Ok => Look::Good,
        State::Unknown => Look::Unknown,
        State::Slow => Look::Warn,
        State::MtuReduced | State::NoAnswerByTunnel | State::NoAnswer => Look::Bad,
    }
}

fn name(peer: &Peer) -> String {
    match &peer.node {
        Some(name) => name.clone(),
        None => joined(&peer.public),
    }
}

/// What it is, or how it answers.
fn answer(peer: &Peer) -> String {
    let why = |what: &str| match &peer.reason {
        Some(reason) => format!("{what}: {reason}"),
        None => what.to_owned(),
    };
    match (peer.state, &peer.probe) {
        (Standing::Refused, _) => why("refused"),
        (Standing::Held, _) => why("held"),
        (Standing::Reserved, _) => "reserved".to_owned(),
        (Standing::Peer, None) => "not asked".to_owned(),
        (Standing::Peer, Some(probe)) => match (probe.state, probe.rtt_us) {
            (State::Ok | State::Slow, Some(rtt)) => words::short(Duration::from_micros(rtt)),
            (state, _) => words::state(state).to_owned(),
        },
    }
}

fn joined<T: ToString>(values: &Dual<T>) -> String {
    let values: Vec<String> = values.values().map(ToString::to_string).collect();
    values.join(" ")
}
