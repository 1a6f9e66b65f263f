//! Certificates and keys, and where they stand.

use std::path::{Path, PathBuf};

use tweed_host::bounded_file::{self, Links, MIB};

/// The largest file with certificates or keys. The system's whole list has a fifth of it.
const LARGEST: usize = MIB;

/// Certificates and keys in PEM, and what to call the place where they stand.
#[derive(Clone, Debug)]
pub(crate) struct Pem {
    /// Such as `--etcd-certfile /etc/tweed/client.pem`.
    pub(crate) what: String,
    /// The file, where it is one.
    pub(crate) file: Option<PathBuf>,
    pub(crate) bytes: Vec<u8>,
}

impl Pem {
    /// Reads a file that an option names.
    pub(crate) fn read(option: &str, file: &Path) -> Result<Self, String> {
        let what = format!("{option} {}", file.display());
        match read(file) {
            Ok(bytes) => Ok(Self {
                what,
                file: Some(file.to_owned()),
                bytes,
            }),
            Err(error) => Err(format!("read {what}: {error}")),
        }
    }
}

pub(super) fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    bounded_file::read(file, Links::Followed, LARGEST)
}

/// What is needed to reach servers by TLS.
#[derive(Clone, Debug, Default)]
pub(crate) struct Material {
    /// Authorities that sign the servers' certificates; the system's list where absent.
    pub(crate) ca: Option<Pem>,
    /// Certificate and key of the client.
    pub(crate) client: Option<(Pem, Pem)>,
    /// Take any certificate of the server.
    pub(crate) insecure: bool,
}
