//! Where the Kubernetes binaries are: in `kube/` of the build folder, where `.ci/kube` puts them, or in
//! `TWEED_KUBE_DIR`.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::binaries::build_folder;

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
            None => build_folder("kube")?.join("kube"),
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
