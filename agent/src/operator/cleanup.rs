//! `tweedd cleanup`: takes back what the agent put on this host: devices, routes, entries, the nftables table and
//! `subnet.env`. The lease stays in the store and the state folder on disk, so that the node can come back as it was.
//! With `--install-cni`, which the agent had, what was placed for the container runtime goes too. With `--hand-back`
//! what flannel takes over stays.
//!
//! It is a pass like any other, with nothing as the wanted state.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use tweed_kernel::firewall::{Asked, hindrances};
use tweed_kernel::{Kernel, Linux};
use tweed_netlink::Netfilter;
use tweed_reconcile::Reconciler;
use tweed_state::{Desired, Op, Scope};

use crate::config::cli::CleanupArgs;
use crate::config::options::Options;
use crate::daemon::{self, offline};
use crate::files::for_plugins;
use crate::host::claims;
use crate::host::flanneld;
use crate::host::lock::{self, Lock};
use crate::host::presence;
use crate::runtime;

use super::print;

mod discarded;
mod hand_back;
mod plugins;
mod remove;
mod report;

use plugins::Folders;
use remove::remove;
use report::{CleanupReport, words};

/// Cleans up, or says what would be done.
///
/// # Errors
/// If an agent runs on the network, or a flanneld; or the kernel can't be read.
pub fn cleanup(options: &Options, args: &CleanupArgs) -> anyhow::Result<ExitCode> {
    let report = clean(options, args)?;
    for warning in &report.warnings {
        eprintln!("tweedd: {warning}");
    }
    print::print(args.output.output, &report, || words(&report))?;
    if args.stay && report.failed.is_empty() {
        runtime::block_on(daemon::told_to_stop())?;
    }
    Ok(match report.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn clean(options: &Options, args: &CleanupArgs) -> anyhow::Result<CleanupReport> {
    let mut report = CleanupReport {
        dry_run: args.dry_run,
        ..CleanupReport::default()
    };
    let had = had(options, &mut report);
    let kernel = Linux::open().context("open netlink sockets")?;
    let mut kernel = kernel.beside(presence::others(&options.host.run_dir));
    let want = Arc::new(wanted(options, args, had, &mut kernel)?);
    let mut reconciler = Reconciler::new(kernel);
    let files = files(options, args);
    // flannel's own list stays for hosts that run flannel; our list works with its plugin and with ours.
    let cni = options.cni.as_ref().filter(|_| !args.hand_back);
    if !args.hand_back {
        report.warnings.extend(flannels());
    }
    if args.dry_run {
        let plan = reconciler.preview(&want)?;
        report.changes = plan.ops().map(Op::to_string).collect();
        if let Some(pid) = lock::held_by(&options.host.run_dir, &options.host.instance) {
            let words = format!(
                "tweedd is running (pid {pid}): without --dry-run this is refused until it is stopped"
            );
            report.warnings.push(words);
        }
        discarded::clean(true, &mut report)?;
        report.files = files.into_iter().filter(|path| path.exists()).collect();
        if let Some(cni) = cni {
            plugins::clean(cni, &Folders::of_host(), true, &mut report)?;
        }
        return Ok(report);
    }
    let _lock = alone(options)?;
    // The operator asked for it: the guard, which holds back large deletions, has its answer.
    reconciler.confirm();
    report.take(reconciler.full(&want, Instant::now())?);
    discarded::clean(false, &mut report)?;
    for path in files {
        if remove(&path)? {
            report.files.push(path);
        }
    }
    if let Some(cni) = cni {
        plugins::clean(cni, &Folders::of_host(), false, &mut report)?;
    }
    Ok(report)
}

/// What flannel has left in the packet filter, which is not ours to remove, and how it is removed.
fn flannels() -> Vec<String> {
    let asked = Asked {
        leftovers: true,
        ..Asked::default()
    };
    let found = Netfilter::open().ok();
    let found = found.and_then(|mut socket| hindrances(&mut socket, &asked).ok());
    let found = found.into_iter().flatten();
    found.map(|hindrance| hindrance.to_string()).collect()
}

/// The last wanted state of this node. Without saved state little is known of the network; marked objects are found all
/// the same.
fn had(options: &Options, report: &mut CleanupReport) -> Option<Desired> {
    runtime::block_on(offline::had(options))
        .map_err(|error| {
            report.warnings.push(format!(
                "what this node had is not known ({error:#}); only devices and rules that carry the name {} are removed, no routes on the uplink: `ip route flush proto 84` and `ip nexthop flush proto 84` remove those, of all agents on this host",
                options.host.instance
            ));
        })
        .ok()
}

/// The state that is to be left.
fn wanted(
    options: &Options,
    args: &CleanupArgs,
    had: Option<Desired>,
    kernel: &mut Linux,
) -> anyhow::Result<Desired> {
    let devices = had.as_ref().map(hand_back::devices);
    let choices = daemon::choices::choices(options);
    let marked = || Scope {
        alias: choices.alias(),
        table: choices.table,
        ..Scope::default()
    };
    let scope = Scope {
        // Objects of other networks stay: their agents remove them.
        sweep: false,
        ..had.map_or_else(marked, |had| had.scope)
    };
    Ok(match args.hand_back {
        true => hand_back::wanted(kernel.observe(&scope)?, devices.as_ref(), scope),
        false => Desired::nothing(scope),
    })
}

/// Makes sure that no agent runs, which would restore the objects or still needs them.
fn alone(options: &Options) -> anyhow::Result<Lock> {
    let host = &options.host;
    if let Some(pid) = lock::held_by(&host.run_dir, &host.instance) {
        bail!("tweedd is running (pid {pid}) and would put everything back; stop it first");
    }
    flanneld::check(&flanneld::find(Path::new("/proc")), options)?;
    Lock::acquire(&host.run_dir, &host.instance)
}

fn files(options: &Options, args: &CleanupArgs) -> Vec<PathBuf> {
    let host = &options.host;
    let mut files = vec![
        claims::beside(&host.subnet_file),
        host.socket.clone(),
        for_plugins::path(host),
    ];
    let list = options.cni.as_ref();
    files.extend(list.map(|cni| claims::beside(&cni.conf_dir.join(&cni.conf_name))));
    // flannel reads its subnet from there, and running pods' plugin theirs.
    files.extend((!args.hand_back).then(|| host.subnet_file.clone()));
    files.extend(args.purge.then(|| host.state_dir.clone()));
    files
}

#[cfg(test)]
mod tests;
