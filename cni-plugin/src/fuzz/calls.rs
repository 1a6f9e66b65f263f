//! Whole calls of each plugin: name, environment and stdin in, exit code and one document out. All but what touches the host
//! is the plugin's own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::os::unix::ffi::OsStringExt;
use std::sync::OnceLock;

use serde_json::Value;
use tweed_fuzz::{Source, fuzz};

use super::samples::{configuration, damaged};
use crate::plugins::PLUGINS;
use crate::runtime::plugin::{Plugin, Registry, Request, Row};
use crate::runtime::process::{self, Process};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Version, wire};

/// A plugin that reads and checks everything, and passes on the result that it is given.
struct Dry(&'static dyn Plugin);

impl Plugin for Dry {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        self.0.configuration(request)
    }

    fn add(&self, request: &Request<'_>, _undo: &mut Undo) -> Result<CniResult, CniError> {
        request.conf.dynamic()?;
        Ok(request.conf.prev_result()?.unwrap_or_default())
    }

    fn del(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        removal.step(request.conf.prev_result().map(drop));
        removal.step(self.0.configuration(request).map(drop));
        Ok(())
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        request.conf.required_prev_result().map(drop)
    }

    fn gc(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        request.conf.valid_attachments().map(drop)
    }

    fn status(&self, _request: &Request<'_>) -> Result<(), CniError> {
        Ok(())
    }
}

fn dry() -> Registry {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    let of_row = |row: &Row| Row {
        plugin: Box::leak(Box::new(Dry(row.plugin))),
        ..*row
    };
    Registry(ROWS.get_or_init(|| PLUGINS.0.iter().map(of_row).collect()))
}

const VERBS: [&str; 7] = ["ADD", "ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"];
const ENVIRONMENT: [(&str, &str); 6] = [
    ("CNI_CONTAINERID", "abc-1.2_x"),
    ("CNI_NETNS", "/run/netns/none"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_PATH", "/nowhere:/opt/nowhere"),
    (
        "CNI_ARGS",
        "IgnoreUnknown=1;K8S_POD_NAME=web;IP=10.0.0.9/24;GATEWAY=10.0.0.1",
    ),
    ("TWEED_CNI_DEPTH", "1"),
];

/// The variables, of which some are missing, changed or no text.
fn environment(source: &mut Source, verb: &str) -> BTreeMap<&'static str, OsString> {
    let mut env: BTreeMap<_, OsString> = ENVIRONMENT
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    env.insert("CNI_COMMAND", verb.into());
    if source.once_in(4) {
        let (name, value) = source.pick(&ENVIRONMENT);
        match source.below(4) {
            0 => drop(env.remove(name)),
            1 => {
                let len = source.len(300);
                env.insert(name, OsString::from_vec(source.bytes(len)));
            }
            _ => drop(env.insert(name, damaged(source, &[value]).into())),
        }
    }
    env
}

/// Whether the output is what a runtime can read, whatever was put in.
fn is_right(verb: &str, code: u8, stdout: &[u8], stderr: &[u8]) {
    let text = std::str::from_utf8(stdout).unwrap();
    let object = || serde_json::from_str::<Value>(text).unwrap();
    match (code, verb) {
        (0, "") => assert!(text.is_empty() && !stderr.is_empty()),
        (0, "VERSION") => assert!(object()["supportedVersions"].is_array()),
        (0, "ADD") => drop(wire::read(&object(), Version::NEWEST).unwrap()),
        (0, _) => assert_eq!(text, ""),
        (1, _) => {
            let error = object();
            assert!(error["code"].as_u64().unwrap() > 0, "{text}");
            assert_ne!(error["msg"].as_str().unwrap(), "");
            assert!(Version::parse(error["cniVersion"].as_str().unwrap()).is_some());
        }
        _ => panic!("exit code {code}"),
    }
}

#[test]
fn every_call_ends_with_one_document_that_a_runtime_can_read() {
    fuzz("CNI call", 20, |source| {
        let (plugin, conf) = configuration(source);
        let verb = match source.once_in(16) {
            true => damaged(source, &VERBS),
            false => source.pick(&VERBS).to_owned(),
        };
        let env = environment(source, &verb);
        let name = match source.once_in(16) {
            true => damaged(source, &["bridge", "/opt/cni/bin/tweed", "copy"]),
            false => plugin,
        };
        let stdin = match source.once_in(16) {
            true => {
                let len = source.len(300);
                source.bytes(len)
            }
            false => damaged(source, &[&conf.to_string()]).into_bytes(),
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = process::run(Process {
            argv0: OsStr::new(&name),
            env: |name: &str| env.get(name).cloned(),
            stdin: &mut &stdin[..],
            stdout: &mut stdout,
            stderr: &mut stderr,
            plugins: dry(),
        });
        is_right(&verb, code, &stdout, &stderr);
        code == 0
    });
}
