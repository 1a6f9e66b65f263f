//! `tweedd connectivity`: tests which nodes and pods reach each other, or answers such a test.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::config::cli::{ConnectivityServeArgs, ConnectivityTestArgs};
use crate::config::settings::UsageError;
use crate::daemon;
use crate::runtime;
use tweed_connectivity::{self as connectivity, Cluster, Endpoint, Key, PathReport, ServeOptions};

use super::print;

/// Runs the test. Exit code 1 if anything is broken.
///
/// # Errors
/// If the test can't be made.
pub fn test(args: ConnectivityTestArgs) -> Result<ExitCode> {
    let by_hand = by_hand(args.hosts, args.pods)?;
    let key = match (&by_hand, Key::read(&args.shared.token_file)) {
        (None, Err(error)) => {
            return Err(error.context(
                "no responders are named by --host and --pod, and this is no pod of manifests/connectivity.yaml, which finds them",
            ));
        }
        (_, key) => key?,
    };
    let report = runtime::block_on(async {
        let cluster = match by_hand {
            Some(cluster) => cluster,
            None => connectivity::in_cluster(args.wait).await?,
        };
        let peers = usize::from(args.peers);
        let survey = connectivity::survey(cluster, key, args.shared.port, peers).await?;
        Ok(PathReport::of(&survey))
    })?;
    print::print(args.output.output, &report, || report.text())?;
    Ok(match report.ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The responders that were named, if any were.
fn by_hand(hosts: Vec<Endpoint>, pods: Vec<Endpoint>) -> Result<Option<Cluster>, UsageError> {
    let endpoints: Vec<_> = pods.into_iter().chain(hosts).collect();
    let mut known = BTreeSet::new();
    for end in &endpoints {
        if !known.insert((&end.node, end.side)) {
            let twice = format!("--host, --pod: {} is given twice", end.node);
            return Err(UsageError(twice));
        }
    }
    let cluster = Cluster {
        endpoints,
        ..Cluster::default()
    };
    Ok((!cluster.endpoints.is_empty()).then_some(cluster))
}

/// Answers until it is told to stop.
///
/// # Errors
/// If it can't listen.
pub fn serve(args: ConnectivityServeArgs) -> Result<()> {
    let name = match args.name {
        Some(name) => name,
        None => host_name()?,
    };
    let options = ServeOptions {
        addresses: args.addresses,
        port: args.shared.port,
        name,
        key: Key::read(&args.shared.token_file)?,
    };
    runtime::block_on(async {
        tokio::select! {
            served = connectivity::serve(options) => served,
            told = daemon::told_to_stop() => told,
        }
    })
}

fn host_name() -> Result<String> {
    let file = "/proc/sys/kernel/hostname";
    let name = std::fs::read_to_string(file).with_context(|| format!("read {file} (--name)"))?;
    let name = name.trim().to_owned();
    ensure!(!name.is_empty(), "this host has no name: give --name");
    Ok(name)
}
