//! What responders and test share, so that nobody else can have a responder probe something.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use tweed_host::bounded_file::{self, KIB, Links};

/// Fewer bytes can be guessed.
const SHORTEST: usize = 16;

/// Bytes of the key that a datagram carries.
pub const DATAGRAM_KEY: usize = 16;

/// Digests of the shared content; the content itself never travels.
#[derive(Clone)]
pub struct Key {
    line: String,
    datagram: [u8; DATAGRAM_KEY],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(secret)")
    }
}

impl Key {
    /// Reads the shared content, which may be anything of some length.
    ///
    /// # Errors
    /// If the file can't be read or holds next to nothing.
    pub fn read(file: &Path) -> Result<Self> {
        // A Secret is mounted as links.
        let content = bounded_file::read(file, Links::Followed, 64 * KIB).with_context(|| {
            format!(
                "read {} (--token-file: any content of {SHORTEST} bytes or more that test and responders share)",
                file.display()
            )
        })?;
        let content = content.trim_ascii();
        ensure!(
            content.len() >= SHORTEST,
            "{} (--token-file) holds {} bytes; fewer than {SHORTEST} can be guessed",
            file.display(),
            content.len()
        );
        Ok(Self::of(content))
    }

    /// The key to some content.
    pub fn of(content: &[u8]) -> Self {
        let digest = |purpose: &[u8]| Sha256::new().chain_update(purpose).chain_update(content);
        let line = digest(b"line:").finalize();
        let line: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut datagram = [0; DATAGRAM_KEY];
        datagram.copy_from_slice(&digest(b"datagram:").finalize()[..DATAGRAM_KEY]);
        Self { line, datagram }
    }

    /// What a connection begins with.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// What a datagram carries; it gives no access to the rest.
    pub fn datagram(&self) -> &[u8; DATAGRAM_KEY] {
        &self.datagram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_around_the_content_do_not_count_and_next_to_nothing_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let key = Key::read(&file).unwrap();
        assert_eq!(key.line(), Key::of(b"0123456789abcdef").line());
        assert_ne!(key.line(), Key::of(b"0123456789abcdee").line());
        std::fs::write(&file, "short         \n\n\n").unwrap();
        let refused = Key::read(&file).unwrap_err().to_string();
        assert!(refused.contains("holds 5 bytes"), "{refused}");
        let absent = Key::read(&dir.path().join("none")).unwrap_err();
        assert!(absent.to_string().contains("--token-file"), "{absent}");
    }

    #[test]
    fn the_key_of_datagrams_is_no_part_of_the_other() {
        let key = Key::of(b"0123456789abcdef");
        let datagram: String = key.datagram().iter().map(|b| format!("{b:02x}")).collect();
        assert!(!key.line().contains(&datagram));
        assert!(!format!("{key:?}").contains(key.line()));
    }
}
