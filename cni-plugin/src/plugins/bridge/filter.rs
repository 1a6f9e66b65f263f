//! `br_netfilter`: without this module packets between pods of one node pass the host's packet filter by, and a
//! Service, which is rules there, doesn't answer pods of a node on which its own pods run.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::runtime::log;
use crate::runtime::program::finish;
use crate::spec::args::Args;

/// There while the module is.
const SWITCHES: &str = "/proc/sys/net/bridge";

/// How long loading it may take. The pod starts without it too.
const DEADLINE: Duration = Duration::from_secs(10);

/// Loads the module where Kubernetes starts the pod. The agent may load none; its status warns where the module is
/// missing.
pub(super) fn load(args: &Args) {
    // The agent's status reports a module that is missing; a program that doesn't end is reported here.
    if let Err(error) = load_by(Path::new(SWITCHES), "modprobe", DEADLINE, args)
        && error.kind() == io::ErrorKind::TimedOut
    {
        log::line(format_args!("modprobe br_netfilter: {error}"));
    }
}

fn load_by(switches: &Path, program: &str, deadline: Duration, args: &Args) -> io::Result<()> {
    if args.get("K8S_POD_NAME").is_none() || switches.exists() {
        return Ok(());
    }
    let mut modprobe = Command::new(program);
    modprobe.args(["-q", "br_netfilter"]).stdin(Stdio::null());
    // The plugin's output is the result of the call, and nothing else.
    let child = modprobe
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    finish(child, String::new(), deadline).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::time::Instant;

    use super::*;

    const POD: &str = "IgnoreUnknown=1;K8S_POD_NAME=web-0";

    fn script(dir: &Path, text: &str) -> PathBuf {
        let program = dir.join("modprobe");
        fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    #[test]
    fn the_module_is_loaded_for_kubernetes_where_it_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let called = dir.path().join("called");
        let program = script(dir.path(), &format!("echo \"$@\" > {}", called.display()));
        let load = |switches: &Path, args| {
            let args = Args::parse(args).unwrap();
            load_by(switches, program.to_str().unwrap(), DEADLINE, &args).unwrap();
            fs::read_to_string(&called).ok()
        };
        let missing = dir.path().join("bridge");
        assert_eq!(load(&missing, ""), None);
        assert_eq!(load(dir.path(), POD), None);
        assert_eq!(load(&missing, POD).as_deref(), Some("-q br_netfilter\n"));
    }

    #[test]
    fn a_modprobe_without_end_keeps_no_pod_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let program = script(dir.path(), "exec sleep 60");
        let (missing, args) = (dir.path().join("bridge"), Args::parse(POD).unwrap());
        let (begun, soon) = (Instant::now(), Duration::from_millis(200));
        let error = load_by(&missing, program.to_str().unwrap(), soon, &args).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
