//! The trait of plugins, the request that they get, and the table in which they stand.

use std::fmt::Debug;

use ipnet::IpNet;

use crate::runtime::removal::Removal;
use crate::runtime::role::{self, Role};
use crate::runtime::undo::Undo;
use crate::spec::{Attachment, Call, CniError, CniResult, NetConf, Version};

#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The verb and what it is about.
    pub(crate) call: &'a Call,
    pub(crate) conf: &'a NetConf,
    /// The plugins that it may call in process.
    pub(crate) plugins: Registry,
}

/// The verbs of a plugin. Environment, version and names are valid when they are called, and the container's namespace,
/// where there is one, is not our own. What a verb changes goes through its transaction; CHECK and STATUS change
/// nothing.
pub(crate) trait Plugin: Sync {
    /// Reads and checks the whole configuration. Nothing is done yet.
    ///
    /// # Errors
    /// The first key whose value can't be, with what is there and what is wanted.
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError>;

    /// Attaches a container. Each step puts into `undo` how it is taken back.
    ///
    /// # Errors
    /// The first step that failed; the runtime then runs `undo`.
    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError>;

    /// Detaches a container. What is gone already is no error.
    ///
    /// # Errors
    /// Something is there and can't be removed; everything else has been removed.
    fn del(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError>;

    /// Verifies an attachment against the result of its ADD.
    ///
    /// # Errors
    /// The first thing that is not as it was.
    fn check(&self, request: &Request<'_>) -> Result<(), CniError>;

    /// Removes what belongs to this network but to no valid attachment.
    ///
    /// # Errors
    /// As for [`Plugin::del`]; or the configuration has no list of valid attachments.
    fn gc(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError>;

    /// Whether ADD could work now.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    fn status(&self, request: &Request<'_>) -> Result<(), CniError>;

    /// Whether any container may hold an address of a network. Only a plugin that hands out addresses can rule it out.
    fn may_hold(&self, _request: &Request<'_>, _net: &IpNet) -> bool {
        true
    }

    /// The attachments of the network that hold an address, as far as the plugin knows.
    fn holders(&self, _request: &Request<'_>) -> Vec<Attachment> {
        Vec::new()
    }
}

/// A plugin of this binary.
pub(crate) struct Row {
    /// The name that it is called by.
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// The versions of the specification that it speaks, oldest first.
    pub(crate) versions: &'static [Version],
    pub(crate) plugin: &'static dyn Plugin,
}

#[derive(Clone, Copy)]
pub(crate) struct Registry(pub(crate) &'static [Row]);

impl Registry {
    pub(crate) fn find(self, name: &str) -> Option<&'static Row> {
        self.0.iter().find(|row| row.name == name)
    }

    /// Whether a plugin of this name may have that role. One that is not well known may have any.
    pub(crate) fn may_be(self, name: &str, role: Role) -> bool {
        let ours = self.find(name).map(|row| row.role);
        let known = ours.or_else(|| role::of_others(name));
        known.is_none_or(|known| known == role)
    }

    pub(crate) fn names(self) -> String {
        let names: Vec<&str> = self.0.iter().map(|row| row.name).collect();
        names.join(", ")
    }
}
