//! `tweedd run`, up to the daemon's loop: locks this host for this agent alone, and gives up rights.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::config::options::Options;
use crate::files::for_plugins;
use crate::host::claims::Claims;
use crate::host::flanneld::{self, beside::Beside};
use crate::host::lock::Lock;
use crate::host::presence::Presence;
use crate::runtime::block_on;
use crate::store::Store;
use crate::telemetry::queue;

use super::inherited::Inherited;
use super::sandbox;

/// Runs until a signal asks it to stop.
///
/// # Errors
/// When it can't start.
pub fn run(options: &Options, inherited: Inherited) -> Result<ExitCode> {
    let lock = Lock::acquire(&options.host.run_dir, &options.host.instance)?;
    // Other processes can't be looked into after this.
    let proc = Path::new("/proc");
    let flannelds = flanneld::find(proc);
    flanneld::check(&flannelds, options)?;
    let beside = Beside::new(proc, flannelds);
    // What is given up is this thread's and that of those it starts: nothing may start one before.
    let sandbox = match options.sandbox {
        true => sandbox::enter(options),
        false => Vec::new(),
    };
    let _log = queue::start()?;
    let _presence = Presence::announce(&options.host.instance)?;
    let _claims = Claims::take(options)?;
    for_plugins::announce(&options.host);
    block_on(async {
        let store = Store::open(&options.store)?;
        super::run(options.clone(), store, lock, inherited, sandbox, beside).await
    })?;
    for_plugins::leave(&options.host);
    Ok(ExitCode::SUCCESS)
}
