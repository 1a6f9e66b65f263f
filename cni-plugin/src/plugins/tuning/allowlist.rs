//! The operator's list of switches that configurations may name. Without the file all may be.

use std::io;
use std::path::Path;

use regex_lite::Regex;
use tweed_host::bounded_file::{self, Links, MIB};

use super::switch::Switch;
use crate::spec::{CniError, Context};

/// Patterns, one a line. A key must match one of them, anywhere in it unless the pattern says otherwise.
const FILE: &str = "/etc/cni/tuning/allowlist.conf";

/// Checks that all of these may be set.
///
/// # Errors
/// The first that may not; a file that can't be read, or a pattern that is none.
pub(super) fn check(sysctls: &[Switch]) -> Result<(), CniError> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let text = match bounded_file::read_text(Path::new(FILE), Links::Followed, MIB) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text.context(|| format!("read {FILE}"))?,
    };
    let patterns = patterns(&text)?;
    let is_allowed = |switch: &&Switch| patterns.iter().any(|(_, all)| all.is_match(&switch.key));
    match sysctls.iter().find(|switch| !is_allowed(switch)) {
        None => Ok(()),
        Some(Switch { key, .. }) => {
            let allowed: Vec<&str> = patterns.iter().map(|(text, _)| *text).collect();
            let allowed = allowed.join(" ");
            let msg = format!(
                "Sysctl {key} is not allowed. Only the following sysctls are allowed: [{allowed}]"
            );
            Err(CniError::config(msg).details(format!("the list is {FILE}")))
        }
    }
}

fn patterns(text: &str) -> Result<Vec<(&str, Regex)>, CniError> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let regex = Regex::new(line).map_err(|error| {
                CniError::config(format!("{FILE}: {line:?} is no pattern: {error}"))
            })?;
            Ok((line, regex))
        })
        .collect()
}
