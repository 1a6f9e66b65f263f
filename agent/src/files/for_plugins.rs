//! Tells the CNI plugins that this process keeps the network behind a `subnet.env`, and where it answers.

use std::path::{Path, PathBuf};

use tweed_model::presence::{EXTENSION, Presence};
use tweed_netlink::netns::Netns;

use crate::config::options::HostOptions;
use crate::files::atomic;

/// Path of the file that an agent leaves for the plugins.
pub fn path(host: &HostOptions) -> PathBuf {
    host.run_dir.join(format!("{}.{EXTENSION}", host.instance))
}

/// Says that the agent runs. Without that the plugins say nothing about the agent, which is no reason not to start.
pub fn announce(host: &HostOptions) {
    say(host, false);
}

/// Says that the agent ends because it was told to.
pub fn leave(host: &HostOptions) {
    say(host, true);
}

fn say(host: &HostOptions, stopped: bool) {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let presence = Presence {
        subnet_file: text(&host.subnet_file),
        socket: text(&host.socket),
        stopped,
        removes_links_of: Netns::id_of_caller().ok(),
    };
    if let Err(error) = atomic::replace(&path(host), presence.to_string().as_bytes(), 0o644) {
        tracing::warn!(
            error = format!("{error:#}"),
            "the CNI plugins can't be told about this agent: their STATUS says nothing of it"
        );
    }
}
