//! The CNI protocol as values: environment, configuration, result, error, versions. Nothing here touches the host.

pub(crate) mod args;
pub(crate) mod call;
pub(crate) mod config;
pub(crate) mod cut_links;
pub(crate) mod error;
pub(crate) mod json;
mod repeated;
pub(crate) mod result;
pub(crate) mod version;
pub(crate) mod wire;

pub(crate) use call::{Attachment, Call, Verb};
pub(crate) use config::NetConf;
pub(crate) use error::{CniError, Context, Kind};
pub(crate) use result::{CniResult, Dns, Interface, IpConfig, Route};
pub(crate) use version::Version;
