//! `tweedd adopt --check`: what an agent that is started here would take over of flannel's.

use std::process::ExitCode;

use anyhow::Result;

use super::print;
use crate::config::cli::Output;
use crate::config::options::Options;
use crate::daemon::forecast::{Forecast, forecast};
use crate::runtime;

/// Prints the forecast. Exit code 0 if nothing hinders, 1 if something must be done first.
///
/// # Errors
/// When the store or the kernel can't be read, or the node can't be a part of the network.
pub fn check(options: &Options, output: Output) -> Result<ExitCode> {
    let found = runtime::block_on(forecast(options))?;
    print::print(output, &found, || words(&found))?;
    Ok(match found.hindrances.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn words(found: &Forecast) -> String {
    let lease = found.lease.as_deref().unwrap_or("none");
    let mut text = String::new();
    for hindrance in &found.hindrances {
        text += &format!("first    {hindrance}\n");
    }
    text += &format!(
        "lease    {lease} ({})\nuplink   {}\n",
        found.lease_note, found.uplink
    );
    for (name, lines) in [
        ("kept", &found.taken_over),
        ("changed", &found.changed),
        ("swept", &found.swept),
    ] {
        for line in lines {
            text += &format!("{name:<9}{line}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_done_first_stands_first() {
        let found = Forecast {
            hindrances: vec!["flanneld is running".to_owned()],
            lease: Some("10.244.10.0-24".to_owned()),
            lease_note: "in the store".to_owned(),
            uplink: "eth0".to_owned(),
            taken_over: vec!["link flannel.1".to_owned()],
            changed: vec!["add table".to_owned()],
            swept: vec!["delete route".to_owned()],
            ..Forecast::default()
        };
        let expected = "\
first    flanneld is running
lease    10.244.10.0-24 (in the store)
uplink   eth0
kept     link flannel.1
changed  add table
swept    delete route
";
        assert_eq!(words(&found), expected);
    }
}
