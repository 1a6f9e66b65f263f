//! `br_netfilter`: without this module packets between pods of one node pass the host's packet filter by, and a Service,
//! which is rules there, doesn't answer pods of a node on which its own pods run.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::spec::args::Args;

/// There while the module is.
const SWITCHES: &str = "/proc/sys/net/bridge";

/// Loads the module where Kubernetes starts the pod. The agent may load none; it says so where this doesn't help either.
pub(super) fn load(args: &Args) {
    load_by(Path::new(SWITCHES), "modprobe", args);
}

fn load_by(switches: &Path, program: &str, args: &Args) {
    if args.get("K8S_POD_NAME").is_none() || switches.exists() {
        return;
    }
    let mut modprobe = Command::new(program);
    modprobe.args(["-q", "br_netfilter"]).stdin(Stdio::null());
    // The plugin's output is the result of the call, and nothing else.
    let _ = modprobe
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_module_is_loaded_for_kubernetes_where_it_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let (program, called) = (dir.path().join("modprobe"), dir.path().join("called"));
        let script = format!("#!/bin/sh\necho \"$@\" > {}\n", called.display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let load = |switches: &Path, args| {
            let args = Args::parse(args).unwrap();
            load_by(switches, program.to_str().unwrap(), &args);
            fs::read_to_string(&called).ok()
        };
        let missing = dir.path().join("bridge");
        let pod = "IgnoreUnknown=1;K8S_POD_NAME=web-0";
        assert_eq!(load(&missing, ""), None);
        assert_eq!(load(dir.path(), pod), None);
        assert_eq!(load(&missing, pod).as_deref(), Some("-q br_netfilter\n"));
    }
}
