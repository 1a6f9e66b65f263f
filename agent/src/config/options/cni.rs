//! The options of what is placed for the container runtime.

use std::path::PathBuf;
use std::time::Duration;

use super::note::Note;
use super::values::path;
use crate::config::cni_names;
use crate::config::flags;
use crate::config::go_values;
use crate::config::settings::{Settings, UsageError};

/// What `--cni-gc` may be.
const LEAST: Duration = Duration::from_secs(60);
const MOST: Duration = Duration::from_secs(365 * 86400);

/// What to place for the container runtime, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniOptions {
    /// Folder for plugins.
    pub bin_dir: PathBuf,
    /// Folder for network configurations.
    pub conf_dir: PathBuf,
    /// File name of the list.
    pub conf_name: String,
    /// Place plugin and links; else something else does.
    pub plugins: bool,
    /// The list; the built-in one where there is none.
    pub conf: Option<PathBuf>,
    /// Take the list away at the end.
    pub withdraw: bool,
    /// Where folders are that nobody has named.
    pub layout: Layout,
    /// Whether somebody has named the folder for plugins.
    pub named_bin: bool,
    /// The same of the folder for network configurations.
    pub named_conf: bool,
}

/// Where the container runtime looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Where the host's k3s or RKE2 has told its containerd, else in the standard folders.
    Auto,
    Standard,
    K3s,
    Rke2,
}

impl CniOptions {
    /// Reads them, whether anything is to be placed or not.
    ///
    /// # Errors
    /// If a value can't be used.
    pub fn places(settings: &Settings<'_>) -> Result<Self, UsageError> {
        Ok(Self {
            bin_dir: path(settings, &flags::CNI_BIN_DIR),
            conf_dir: path(settings, &flags::CNI_CONF_DIR),
            conf_name: settings.required(
                &flags::CNI_CONF_NAME,
                "a file name that ends in .conflist, where runtimes look for lists",
                |text| {
                    let fits = text.ends_with(".conflist") && cni_names::file_name(text).is_ok();
                    fits.then(|| text.to_owned())
                },
            )?,
            plugins: true,
            conf: settings.text(&flags::CNI_CONF).map(|(_, text)| text.into()),
            withdraw: false,
            layout: settings.required(&flags::CNI_LAYOUT, "auto, standard, k3s or rke2", layout)?,
            named_bin: settings.given(&flags::CNI_BIN_DIR).is_some(),
            named_conf: settings.given(&flags::CNI_CONF_DIR).is_some(),
        })
    }

    #[cfg(test)]
    pub fn standard() -> Self {
        let none = flags::Flags::default();
        Self::places(&Settings::new(&none, &|_| None)).expect("the defaults")
    }
}

/// Reads them; `None` where nothing is to be placed.
///
/// # Errors
/// If a value can't be used.
pub(super) fn read(
    settings: &Settings<'_>,
    notes: &mut Vec<Note>,
) -> Result<Option<CniOptions>, UsageError> {
    let options = CniOptions {
        plugins: settings.switch(&flags::CNI_PLUGINS)?,
        withdraw: settings.switch(&flags::CNI_WITHDRAW)?,
        ..CniOptions::places(settings)?
    };
    if settings.switch(&flags::INSTALL_CNI)? {
        return Ok(Some(options));
    }
    let others = flags::CNI_GROUP.flags.iter();
    let of_list = [
        flags::INSTALL_CNI.name,
        flags::CNI_GC.name,
        flags::CNI_CONF_DIR.name,
    ];
    let given = others.filter(|flag| !of_list.contains(&flag.name));
    notes.extend(given.filter_map(|flag| {
        let source = settings.given(flag)?;
        Some(Note::new(source, "has no effect without --install-cni"))
    }));
    Ok(None)
}

/// Reads how often what dead containers have left is removed, and where the lists are; `None` for never.
///
/// # Errors
/// If the value can't be used.
pub(super) fn collection(
    settings: &Settings<'_>,
) -> Result<Option<(Duration, PathBuf)>, UsageError> {
    let expected = "off, or a time of at least 60s: seconds, or a number with s, m or h";
    let every = settings.required(&flags::CNI_GC, expected, |text| match text {
        "off" => Some(None),
        text => go_values::duration(text)
            .filter(|every| (LEAST..=MOST).contains(every))
            .map(Some),
    })?;
    Ok(every.map(|every| (every, path(settings, &flags::CNI_CONF_DIR))))
}

fn layout(text: &str) -> Option<Layout> {
    match text {
        "auto" => Some(Layout::Auto),
        "standard" => Some(Layout::Standard),
        "k3s" => Some(Layout::K3s),
        "rke2" => Some(Layout::Rke2),
        _ => None,
    }
}
