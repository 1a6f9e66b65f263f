//! Paths that two agents of different networks could be given both: each belongs to one of them, as long as that one
//! lives. A lock lies on or beside what it stands for, so that it holds wherever the path is seen from, whatever name the
//! path has there, and after every end of a process.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::bail;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::config::instance::Instance;
use crate::config::options::Options;

/// Held while this process runs.
#[derive(Debug)]
pub struct Claims {
    _locks: Vec<Flock<File>>,
}

impl Claims {
    /// Takes the subnet file, the state folder and, with `--install-cni`, the network configuration list.
    ///
    /// # Errors
    /// If another agent has one of them. Where there can be no lock, on a read-only file system for one, that is logged.
    pub fn take(options: &Options) -> anyhow::Result<Self> {
        let host = &options.host;
        let mut locks = Vec::new();
        let file = &host.subnet_file;
        if file.is_dir() {
            let file = file.display();
            bail!("--subnet-file: {file} is a folder; name a file in it: {file}/subnet.env");
        }
        locks.extend(claim(
            &beside(file),
            &host.instance,
            &format!("subnet file {}", file.display()),
            "--subnet-file, and tell the plugin by its key subnetFile",
        )?);
        locks.extend(claim(
            &host.state_dir.join("lock"),
            &host.instance,
            &format!("state folder {}", host.state_dir.display()),
            "--state-dir",
        )?);
        if let Some(cni) = &options.cni {
            let list = cni.conf_dir.join(&cni.conf_name);
            locks.extend(claim(
                &beside(&list),
                &host.instance,
                &format!("network configuration list {}", list.display()),
                "--cni-conf-name, or leave --install-cni to one of them",
            )?);
        }
        Ok(Self { _locks: locks })
    }
}

/// `.subnet.env.lock` beside `subnet.env`.
pub fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.lock"))
}

fn claim(
    lock: &Path,
    instance: &Instance,
    what: &str,
    fix: &str,
) -> anyhow::Result<Option<Flock<File>>> {
    let file = match open(lock) {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(
                lock = %lock.display(), %error,
                "no lock can be made: another agent that is given the same {what} would not be noticed"
            );
            return Ok(None);
        }
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            // The lock holds without: this only names the holder.
            let _ = write_holder(&mut file, instance);
            Ok(Some(file))
        }
        Err((mut file, Errno::EWOULDBLOCK)) => bail!(
            "the {what} is another tweedd's ({}); give this one its own by {fix}",
            holder(&mut file)
        ),
        Err((_, errno)) => bail!("lock {}: {}", lock.display(), errno.desc()),
    }
}

/// Mode 0600: every process that can open a file can lock it.
fn open(lock: &Path) -> std::io::Result<File> {
    if let Some(folder) = lock.parent().filter(|folder| !folder.is_dir()) {
        let is_state = lock.file_name().is_some_and(|name| name == "lock");
        let mode = if is_state { 0o700 } else { 0o755 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(folder)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(lock)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

fn write_holder(file: &mut File, instance: &Instance) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "instance {instance}, pid {}", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    // Without it the message is less clear, and right.
    let _ = file.take(200).read_to_string(&mut text);
    match text.trim() {
        "" => "it does not say which one".to_owned(),
        holder => holder.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::flags::Flags;
    use crate::config::settings::Settings;

    fn instance(name: &str) -> Instance {
        Instance::named(name).expect("a valid name")
    }

    #[test]
    fn a_path_belongs_to_one_agent_which_the_refusal_names_with_the_remedy() {
        let dir = tempfile::tempdir().expect("a folder");
        let lock = beside(&dir.path().join("flannel/subnet.env"));
        assert!(lock.ends_with("flannel/.subnet.env.lock"));
        let take = |name| claim(&lock, &instance(name), "subnet file x", "--subnet-file");
        let first = take("tweed").expect("the first").expect("a lock");
        let refusal = take("tweed-0a1b2c3d").expect_err("the second").to_string();
        for word in ["subnet file x", "instance tweed, pid", "--subnet-file"] {
            assert!(refusal.contains(word), "{refusal}");
        }
        let mode = std::fs::metadata(&lock).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        drop(first);
        take("tweed-0a1b2c3d").expect("free again").expect("a lock");
    }

    #[test]
    fn a_folder_in_place_of_the_subnet_file_is_refused_and_no_lock_is_left_beside_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("folder");
        std::fs::create_dir(&folder).expect("made");
        let file = vec![folder.to_string_lossy().into_owned()];
        let flags = Flags([("subnet-file", file)].into());
        let options = Options::read(&Settings::new(&flags, &|_| None)).expect("options");
        let refusal = Claims::take(&options).expect_err("a folder").to_string();
        let remedy = format!("name a file in it: {}/subnet.env", folder.display());
        assert!(refusal.contains(&remedy), "{refusal}");
        assert!(!beside(&folder).exists());
    }

    #[test]
    fn where_no_lock_can_be_made_the_agent_starts_without() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("file"), "").expect("written");
        let lock = dir.path().join("file/lock");
        let taken = claim(&lock, &instance("tweed"), "folder", "--state-dir");
        assert!(taken.expect("no refusal").is_none());
    }
}
