//! What the host has around the agent: folders, clock, limits, and the services that look after its network.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What was read of the host's surroundings.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The folders that agent and plugins write to.
    pub folders: Vec<Folder>,
    /// By how much files that were written lie in the future.
    pub future: Option<Duration>,
    /// Interfaces of the overlay or the pods, and the service of the host that looks after them too.
    pub kept: BTreeMap<String, &'static str>,
    /// Whether systemd-networkd runs and may remove routes that are not its own.
    pub removes_routes: bool,
    /// What the agent may use, and uses.
    pub limits: Vec<Limit>,
    /// How often the kernel has ended a process of the agent's group, because its memory was used up.
    pub killed: u64,
    /// Whether the kernel checks sources strictly at the uplink.
    pub strict: bool,
    /// Whether IPv6 is off at the uplink or everywhere.
    pub ipv6_off: bool,
    /// What serves Services.
    pub proxy: Proxy,
}

/// A folder and its file system.
#[derive(Debug)]
pub struct Folder {
    pub path: PathBuf,
    /// What was read of it.
    pub room: Result<Room, String>,
}

/// What a file system has.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes that may be written yet.
    pub bytes: u64,
    /// Percent of its bytes, or of its files if that is less, that are free.
    pub free: u64,
    pub read_only: bool,
}

/// A limit of the agent's process.
#[derive(Debug)]
pub struct Limit {
    /// What is limited.
    pub what: &'static str,
    pub used: u64,
    pub most: u64,
}

/// What there is of kube-proxy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proxy {
    /// Its rules are in the packet filter.
    pub rules: bool,
    /// Its health endpoint takes connections.
    pub answers: bool,
}
