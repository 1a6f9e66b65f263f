//! The plugins of this binary: a folder and a row each.

mod bridge;
mod flannel;
mod host_local;
#[cfg(test)]
mod keys;
mod loopback;
mod portmap;

use bridge::Bridge;
use flannel::Flannel;
use host_local::HostLocal;
use loopback::Loopback;
use portmap::PortMap;

use crate::runtime::plugin::Plugin;

/// The plugins of this binary, by the names they answer to.
pub(crate) const PLUGINS: [(&str, &'static dyn Plugin); 6] = [
    ("tweed", &Flannel),
    ("flannel", &Flannel),
    ("bridge", &Bridge),
    ("host-local", &HostLocal),
    ("loopback", &Loopback),
    ("portmap", &PortMap),
];

/// The plugin of a name.
pub(crate) fn find(name: &str) -> Option<&'static dyn Plugin> {
    let (_, plugin) = PLUGINS.iter().find(|(known, _)| *known == name)?;
    Some(*plugin)
}

/// Their names, for messages.
pub(crate) fn names() -> String {
    let names: Vec<&str> = PLUGINS.iter().map(|(known, _)| *known).collect();
    names.join(", ")
}
