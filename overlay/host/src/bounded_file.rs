//! Files that somebody else may have placed: opened without waiting, looked at, and read up to a limit.
//!
//! A plain `read` of a path waits for ever where a FIFO stands, follows a link to wherever its maker wants, and takes as
//! much memory as the file is long. Here only a regular file is opened, and the caller says how long it may be. Messages
//! don't name the file: the caller knows it, and names it.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::unistd::geteuid;

/// 1,024 bytes, to name limits by.
pub const KIB: usize = 1 << 10;
/// 1,048,576 bytes.
pub const MIB: usize = 1 << 20;

/// Whether the last part of a path may be a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// For a path that the operator or the runtime has named: Kubernetes mounts a ConfigMap as links.
    Followed,
    /// For a file in a folder where others may write.
    Refused,
}

/// Opens a regular file for reading.
///
/// # Errors
/// As [`open_with`].
pub fn open(path: &Path, links: Links) -> io::Result<File> {
    open_with(File::options().read(true), path, links)
}

/// Opens a regular file as `options` say; with `create` it need not be there. Never waits for another process: not for
/// the other end of a FIFO, and not for the holder of a file lease.
///
/// # Errors
/// With the kind `InvalidInput` if something else stands there, which is named; else what the system says.
pub fn open_with(options: &mut OpenOptions, path: &Path, links: Links) -> io::Result<File> {
    let found = match links {
        Links::Followed => fs::metadata(path),
        Links::Refused => fs::symlink_metadata(path),
    };
    match found {
        // Opening a device can have effects, so it is not opened to be looked at.
        Ok(found) => regular(found.file_type())?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let nofollow = match links {
        Links::Followed => 0,
        Links::Refused => libc::O_NOFOLLOW,
    };
    // The standard library adds O_CLOEXEC.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | nofollow;
    let file = options.custom_flags(flags).open(path)?;
    // What was looked at may have been replaced since.
    regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// The content of a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open_with`]; with the kind `FileTooLarge` if it is longer, with the limit in the message.
pub fn read(path: &Path, links: Links, limit: usize) -> io::Result<Vec<u8>> {
    let file = open(path, links)?;
    // A hint only: files in /proc say 0, and a file can grow.
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > limit {
        return Err(too_large(limit));
    }
    let mut content = Vec::with_capacity(length);
    read_into(file, limit, &mut content)?;
    Ok(content)
}

/// The text of a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`read`]; with the kind `InvalidData` if it isn't UTF-8.
pub fn read_text(path: &Path, links: Links, limit: usize) -> io::Result<String> {
    text(read(path, links, limit)?)
}

/// The text of a regular file of at most `limit` bytes that only root or this process's user can have written: for
/// files by which the host is changed. No link is followed.
///
/// # Errors
/// As [`read_text`]; with the kind `PermissionDenied` if somebody else has written it, or everybody may.
pub fn read_trusted(path: &Path, limit: usize) -> io::Result<String> {
    let file = open(path, Links::Refused)?;
    let found = file.metadata()?;
    let own = [0, geteuid().as_raw()].contains(&found.uid());
    if !own || found.mode() & 0o002 != 0 {
        let what = "others than root may have written it";
        return Err(io::Error::new(ErrorKind::PermissionDenied, what));
    }
    text(read_stream(file, limit)?)
}

/// All that a stream gives, such as standard input, if that is at most `limit` bytes.
///
/// # Errors
/// As [`read`].
pub fn read_stream(stream: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    read_into(stream, limit, &mut content)?;
    Ok(content)
}

/// Bytes as text.
///
/// # Errors
/// With the kind `InvalidData` if they aren't UTF-8.
pub fn text(content: Vec<u8>) -> io::Result<String> {
    String::from_utf8(content).map_err(|_| io::Error::new(ErrorKind::InvalidData, "not UTF-8"))
}

fn read_into(stream: impl Read, limit: usize, content: &mut Vec<u8>) -> io::Result<()> {
    let more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    stream.take(more).read_to_end(content)?;
    if content.len() > limit {
        return Err(too_large(limit));
    }
    Ok(())
}

fn too_large(limit: usize) -> io::Error {
    let limit = match limit {
        bytes if bytes >= MIB && bytes % MIB == 0 => format!("{} MiB", bytes / MIB),
        bytes if bytes >= KIB && bytes % KIB == 0 => format!("{} KiB", bytes / KIB),
        bytes => format!("{bytes} bytes"),
    };
    let what = format!("longer than {limit}, more than is read of such a file");
    io::Error::new(ErrorKind::FileTooLarge, what)
}

fn regular(found: FileType) -> io::Result<()> {
    let what = match found {
        _ if found.is_file() => return Ok(()),
        _ if found.is_dir() => "a folder",
        _ if found.is_symlink() => "a symbolic link, which is not followed here",
        _ if found.is_fifo() => "a FIFO",
        _ if found.is_socket() => "a socket",
        _ => "a device",
    };
    let what = format!("it is {what}; a regular file is wanted");
    Err(io::Error::new(ErrorKind::InvalidInput, what))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    const BOTH: [Links; 2] = [Links::Followed, Links::Refused];

    fn refused(path: &Path, links: Links, word: &str) {
        let reads: [io::Result<()>; 3] = [
            read(path, links, KIB).map(drop),
            open(path, links).map(drop),
            open_with(File::options().write(true).create(true), path, links).map(drop),
        ];
        for read in reads {
            let error = read.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_by_name_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for links in BOTH {
            refused(&fifo, links, "a FIFO");
            refused(&socket, links, "a socket");
            refused(dir.path(), links, "a folder");
            refused(Path::new("/dev/zero"), links, "a device");
        }
        let link = dir.path().join("link");
        symlink(&fifo, &link).unwrap();
        refused(&link, Links::Followed, "a FIFO");
    }

    #[test]
    fn a_link_is_followed_only_where_the_caller_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "text").unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(read_text(&link, Links::Followed, KIB).unwrap(), "text");
        refused(&link, Links::Refused, "a symbolic link");
        // Nor is a file made where a link points to.
        let (target, dangling) = (dir.path().join("target"), dir.path().join("dangling"));
        symlink(&target, &dangling).unwrap();
        refused(&dangling, Links::Refused, "a symbolic link");
        assert!(!target.exists());
    }

    #[test]
    fn what_others_have_written_or_may_write_is_not_trusted() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let trusted = || read_trusted(&file, KIB).map_err(|error| error.kind());
        fs::write(&file, "text").unwrap();
        for (mode, read) in [(0o644, true), (0o600, true), (0o646, false)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(trusted().is_ok(), read, "{mode:o}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(12_345), None).unwrap();
        assert_eq!(trusted(), Err(ErrorKind::PermissionDenied));
    }

    #[test]
    fn a_limit_is_kept_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        for (length, limit, said) in [
            (7, 6, "longer than 6 bytes,"),
            (2 * KIB + 1, 2 * KIB, "longer than 2 KiB,"),
            (MIB + 1, MIB, "longer than 1 MiB,"),
        ] {
            fs::write(&file, vec![b'a'; length]).unwrap();
            let error = read(&file, Links::Refused, limit).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FileTooLarge);
            assert!(error.to_string().contains(said), "{error}");
            let all = read(&file, Links::Refused, length).unwrap();
            assert_eq!(all.len(), length);
            let error = read_stream(&vec![0; length][..], limit).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert_eq!(
                read_stream(&vec![0; length][..], length).unwrap().len(),
                length
            );
        }
    }

    #[test]
    fn a_file_that_says_nothing_of_its_length_is_read_up_to_the_limit() {
        let status = Path::new("/proc/self/status");
        assert!(
            read_text(status, Links::Refused, 64 * KIB)
                .unwrap()
                .contains("Name:")
        );
        let error = read(status, Links::Refused, 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn an_absent_file_is_absent_and_bytes_are_not_text() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        assert_eq!(
            read(&file, Links::Refused, KIB).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        open_with(
            File::options().write(true).create(true),
            &file,
            Links::Refused,
        )
        .unwrap();
        assert_eq!(read(&file, Links::Refused, KIB).unwrap(), b"");
        fs::write(&file, [0xff]).unwrap();
        let error = read_text(&file, Links::Refused, KIB).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
