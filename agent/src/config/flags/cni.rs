//! The flags for what the container runtime needs of us: plugin, links and network configuration list.

use super::flag::Takes::{One, Switch};
use super::flag::{Flag, Group};
use crate::config::cni_names;

pub static INSTALL_CNI: Flag = Flag::new(
    "install-cni",
    Switch,
    "Place the CNI plugin beside this program on the host at start, and the network configuration list once the network works; both are kept there",
)
.default("false")
.ours();
pub static CNI_BIN_DIR: Flag = Flag::new("cni-bin-dir", One("DIR"), "Folder for plugins")
    .default(cni_names::BIN_DIR)
    .ours();
pub static CNI_CONF_DIR: Flag = Flag::new(
    "cni-conf-dir",
    One("DIR"),
    "Folder for network configurations",
)
.default(cni_names::CONF_DIR)
.ours();
pub static CNI_LAYOUT: Flag = Flag::new(
    "cni-layout",
    One("NAME"),
    "Where folders are that are not named: standard (the defaults), k3s, rke2; auto: where the k3s or RKE2 of this host has told its containerd, if that is clear",
)
.default("auto")
.ours();
pub static CNI_CONF_NAME: Flag = Flag::new(
    "cni-conf-name",
    One("NAME"),
    "File name of the network configuration list; runtimes use the first file in the order of names",
)
.default(cni_names::CONF_NAME)
.ours();
pub static CNI_CONF: Flag = Flag::new(
    "cni-conf",
    One("FILE"),
    "The list to place, read again when it changes; default: a built-in one that is flannel's",
)
.ours();
pub static CNI_WITHDRAW: Flag = Flag::new(
    "cni-withdraw",
    Switch,
    "Take the list away when the agent is told to stop, so that the runtime starts no pods meanwhile",
)
.default("false")
.ours();

pub static CNI_PLUGINS: Flag = Flag::new(
    "cni-plugins",
    Switch,
    "Place plugin and links too; false where tweedd install-cni has done that, as the init container of a pod whose agent can't write there",
)
.default("true")
.ours();

pub static CNI_GC: Flag = Flag::new(
    "cni-gc",
    One("TIME"),
    "Remove what containers have left that are gone without DEL, in the networks of the lists in --cni-conf-dir that begin with our plugin or flannel's: at the start, and each time after so long; off: never",
)
.default("1h")
.ours();

/// What is placed, and where: for the command that does it once.
pub static CNI_PLACES_GROUP: Group = Group {
    heading: "CNI",
    flags: &[
        &CNI_CONF,
        &CNI_CONF_NAME,
        &CNI_CONF_DIR,
        &CNI_BIN_DIR,
        &CNI_LAYOUT,
    ],
};

/// What the container runtime needs of us.
pub static CNI_GROUP: Group = Group {
    heading: "CNI",
    flags: &[
        &INSTALL_CNI,
        &CNI_CONF,
        &CNI_CONF_NAME,
        &CNI_CONF_DIR,
        &CNI_BIN_DIR,
        &CNI_LAYOUT,
        &CNI_PLUGINS,
        &CNI_WITHDRAW,
        &CNI_GC,
    ],
};
