//! `sample`: shows what a plugin is given, and passes the result on. For operators who wonder what their runtime hands
//! over, and as a start for a plugin of one's own.

use std::fmt::Debug;

use serde_json::{Value, json};

use crate::net::identity;
use crate::runtime::log;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult};

pub(crate) struct Sample;

impl Plugin for Sample {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        Ok(Box::new(request.conf.prev_result()?))
    }

    /// Without a previous result there is nothing to pass on, and the result is empty.
    fn add(&self, request: &Request<'_>, _undo: &mut Undo) -> Result<CniResult, CniError> {
        show(request);
        Ok(request.conf.prev_result()?.unwrap_or_default())
    }

    fn del(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        show(request);
        Ok(())
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        show(request);
        request.conf.required_prev_result().map(drop)
    }

    fn gc(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        show(request);
        identity::valid_owners(request.conf).map(drop)
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        show(request);
        Ok(())
    }
}

/// One line on stderr, which runtimes log. Stdout is for the result alone.
fn show(request: &Request<'_>) {
    let Request { call, conf, .. } = request;
    let path = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
    let given = json!({
        "command": call.verb.name(),
        "containerID": call.attachment.container_id,
        "ifname": call.attachment.ifname,
        "netns": call.netns.as_ref().map(path),
        "args": format!("{:?}", call.args),
        "path": call.path.iter().map(path).collect::<Vec<_>>(),
        "config": conf.to_json().unwrap_or_else(|_| Value::Object(conf.raw.clone())),
    });
    log::line(format_args!("sample: {given}"));
}
