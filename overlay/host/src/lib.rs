//! What every process of ours needs of its host: files that somebody else may have placed ([`bounded_file`]), files
//! that others read while they are written ([`whole_file`]), locks that are waited for ([`file_lock`]), switches of the
//! kernel ([`sysctl`]), random numbers ([`random`]), how long to wait between attempts ([`pauses`]), what the kernel knows
//! of paths ([`path_mtu`]), and the error that names what was asked of the kernel.

pub mod bounded_file;
pub mod file_lock;
pub mod memory;
pub mod path_mtu;
pub mod pauses;
pub mod random;
pub mod sysctl;
pub mod whole_file;

/// A call to the kernel that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct KernelError {
    /// The operation, naming its object.
    pub what: String,
    /// The kernel's answer.
    #[source]
    pub source: std::io::Error,
}
