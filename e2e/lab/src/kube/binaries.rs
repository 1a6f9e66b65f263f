//! Where the Kubernetes binaries are: in `kube/` of the build folder, where `.ci/kube` puts them, or in
//! `TWEED_KUBE_DIR`.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// Paths of the Kubernetes binaries.
#[derive(Clone, Debug)]
pub struct KubeBinaries {
    /// API server, controller manager, scheduler, kubelet, kube-proxy and kubectl; the first argument chooses.
    pub kube: PathBuf,
    /// CoreDNS.
    pub coredns: PathBuf,
}

impl KubeBinaries {
    /// Finds them.
    ///
    /// # Errors
    /// When they have not been built.
    pub fn locate() -> Result<Self> {
        let folder = match env::var_os("TWEED_KUBE_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => build_folder()?.join("kube"),
        };
        let find = |name: &str| {
            let path = folder.join(name);
            ensure!(
                path.is_file(),
                "{} is not built: run .ci/kube, or let make do it",
                path.display()
            );
            Ok(path)
        };
        Ok(Self {
            kube: find("kube")?,
            coredns: find("coredns")?,
        })
    }
}

/// Tests lie in `<build folder>/debug/deps`, binaries in `<build folder>/debug` or `<build folder>/<target>/release`,
/// where `<target>` is marked as a build folder too.
fn build_folder() -> Result<PathBuf> {
    let exe = env::current_exe()?;
    let marked = exe
        .ancestors()
        .filter(|folder| folder.join("CACHEDIR.TAG").is_file() || folder.ends_with("target"));
    let mut folders: Vec<_> = marked.map(PathBuf::from).collect();
    let built = folders
        .iter()
        .position(|folder| folder.join("kube").is_dir());
    match built {
        Some(index) => Ok(folders.swap_remove(index)),
        None => folders
            .pop()
            .with_context(|| format!("{} lies in no build folder", exe.display())),
    }
}
