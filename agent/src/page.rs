//! The status as a page for a browser: what is wrong first, the other nodes, then this one. One document and one style
//! sheet, without scripts and without anything from elsewhere. Pure.

mod markup;
mod peers;
#[cfg(test)]
mod tests;

use crate::daemon::status::Status;
use crate::operator::status::screen::Screen;
use crate::operator::times::time;
use markup::Markup;

/// How the page looks.
pub const STYLE: &str = include_str!("page/style.css");

/// What a browser may load for it and do with it: its style sheet, and nothing else.
pub const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Rows of the screen that say what is wrong.
const WRONG: [&str; 6] = ["warning", "host", "fight", "refused", "reserved", "ignored"];

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
    <meta name=\"color-scheme\" content=\"light dark\"><meta http-equiv=\"refresh\" content=\"10\">\
    <link rel=\"stylesheet\" href=\"/page.css\"><title>";

/// A row of the screen.
struct Row<'a> {
    name: &'a str,
    value: &'a str,
}

/// The page at a time in seconds since 1970. With the list of peers it has a grid of them.
pub fn html(status: &Status, now: u64) -> String {
    let without_peers = Status {
        peer_list: None,
        bad_peers: Vec::new(),
        ..status.clone()
    };
    let screen = Screen {
        status: &without_peers,
        all: false,
        now,
    };
    let text = screen.to_string();
    let rows = rows(&text);
    let (wrong, rest): (Vec<Row<'_>>, Vec<Row<'_>>) =
        rows.into_iter().partition(|row| is_wrong(row.name));
    let mut page = Markup::default();
    head(&mut page, status, &rest);
    list_of_wrong(&mut page, &wrong);
    peers::section(&mut page, status, now);
    own_node(&mut page, &rest);
    page.raw("</main><footer><p>Drawn at ").text(&time(now));
    page.raw(", and again each 10 seconds. <code>tweedd status</code> and <code>tweedd doctor</code> say more.</p>");
    page.raw("</footer></body></html>\n");
    page.finish()
}

/// The rows of the screen's text; one without a name belongs to that above it.
fn rows(text: &str) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for line in text.lines() {
        let (name, value) = match line.split_once(' ') {
            Some((name, value)) => (name, value.trim_start()),
            None => (line, ""),
        };
        let name = match (name, rows.last()) {
            // The first row says whether the node is ready; those below it say why not.
            ("", Some(above)) if above.name == "ready" => "not ready",
            ("", Some(above)) => above.name,
            _ => name,
        };
        rows.push(Row { name, value });
    }
    rows
}

fn is_wrong(name: &str) -> bool {
    name == "not ready" || WRONG.contains(&name)
}

fn head(page: &mut Markup, status: &Status, rows: &[Row<'_>]) {
    let subnets: Vec<String> = status.subnets.values().map(ToString::to_string).collect();
    let place = match subnets.is_empty() {
        true => "no subnet yet".to_owned(),
        false => subnets.join(" "),
    };
    let (class, verdict) = match (status.ready, peers::are_lost(status)) {
        (false, _) => ("<header class=\"bad\">", "not ready"),
        (true, true) => ("<header class=\"warn\">", "ready, but not all nodes answer"),
        (true, false) => ("<header class=\"good\">", "ready"),
    };
    page.raw(HEAD).text(verdict).raw(" · ").text(&place);
    page.raw(" · tweedd</title></head>\n<body>").raw(class);
    page.element("<p class=\"verdict\">", verdict, "</p>");
    page.element("<h1>", &place, "</h1>");
    let ready = rows.iter().find(|row| row.name == "ready");
    page.element("<p>ready: ", ready.map_or("", |row| row.value), "</p>");
    page.raw("</header>\n<main>");
}

fn list_of_wrong(page: &mut Markup, wrong: &[Row<'_>]) {
    if wrong.is_empty() {
        return;
    }
    page.raw("<section id=\"wrong\"><h2>What is wrong</h2><ul>\n");
    for row in wrong {
        page.element("<li><b>", row.name, "</b> ");
        page.text(row.value).raw("</li>\n");
    }
    page.raw("</ul></section>\n");
}

fn own_node(page: &mut Markup, rows: &[Row<'_>]) {
    page.raw("<section id=\"node\"><h2>This node</h2><dl>\n");
    let mut above = "";
    for row in rows.iter().filter(|row| row.name != "ready") {
        if row.name != above {
            page.element("<dt>", row.name, "</dt>");
        }
        page.element("<dd>", row.value, "</dd>\n");
        above = row.name;
    }
    page.raw("</dl></section>\n");
}
