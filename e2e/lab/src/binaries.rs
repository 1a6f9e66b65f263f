//! Where the binaries under test are: beside the program that tests them, or in `TWEED_BIN_DIR`.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Paths of the binaries under test.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The daemon and operator command.
    pub tweedd: PathBuf,
    /// The multi-call CNI plugin.
    pub plugin: PathBuf,
}

impl Binaries {
    /// Finds them.
    ///
    /// # Errors
    /// When they have not been built.
    pub fn locate() -> Result<Self> {
        let folder = match env::var_os("TWEED_BIN_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => beside(&env::current_exe()?)?,
        };
        let find = |name: &str| {
            let path = folder.join(name);
            ensure!(
                path.is_file(),
                "{} is not built: run `cargo build -p tweed-agent -p tweed-cni`, or let make do it",
                path.display()
            );
            path.canonicalize()
                .with_context(|| format!("find {}", path.display()))
        };
        Ok(Self {
            tweedd: find("tweedd")?,
            plugin: find("tweed")?,
        })
    }
}

/// Tests lie in `deps/`, one below the binaries.
fn beside(exe: &Path) -> Result<PathBuf> {
    let folder = exe.parent().context("this program lies in no folder")?;
    Ok(match folder.file_name() {
        Some(name) if name == "deps" => folder.parent().unwrap_or(folder).to_owned(),
        _ => folder.to_owned(),
    })
}

/// The build folder, where there are several the one with this in it. Tests lie in `<build folder>/debug/deps`, binaries
/// in `<build folder>/debug` or `<build folder>/<target>/release`, where `<target>` is marked as a build folder too.
pub(crate) fn build_folder(with: &str) -> Result<PathBuf> {
    let exe = env::current_exe()?;
    let marked = exe
        .ancestors()
        .filter(|folder| folder.join("CACHEDIR.TAG").is_file() || folder.ends_with("target"));
    let mut folders: Vec<_> = marked.map(PathBuf::from).collect();
    let built = folders.iter().position(|folder| folder.join(with).is_dir());
    match built {
        Some(index) => Ok(folders.swap_remove(index)),
        None => folders
            .pop()
            .with_context(|| format!("{} lies in no build folder", exe.display())),
    }
}
