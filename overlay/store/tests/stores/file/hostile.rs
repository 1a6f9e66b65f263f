//! What another who may write to the folder can place there: nobody waits for it, and it costs neither memory nor a file
//! elsewhere.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::time::timeout;
use tweed_model::Dual;
use tweed_store::{Held, LeaseStore, StoreError};

use super::scene::*;

fn fifo(path: &Path) {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
}

/// A file of this many zero bytes, which take no room.
fn huge(path: &Path, length: u64) {
    fs::File::create(path).unwrap().set_len(length).unwrap();
}

fn refused(error: &StoreError, words: &[&str]) {
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[tokio::test]
async fn a_fifo_a_link_and_a_huge_file_among_the_leases_are_named_and_stop_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let first = take(&store(folder.path()), &wish(1)).await;
    let subnets = folder.path().join("subnets");
    fifo(&subnets.join("10.5.7.0-24.json"));
    symlink("/etc/passwd", subnets.join("10.5.8.0-24.json")).unwrap();
    huge(&subnets.join("10.5.9.0-24.json"), 200 << 20);
    let snapshot = timeout(SOON, store(folder.path()).list()).await.unwrap();
    let snapshot = snapshot.unwrap();
    assert_eq!(snapshot.leases.keys().collect::<Vec<_>>(), [&first.key]);
    for (name, word) in [
        ("10.5.7.0-24.json", "FIFO"),
        ("10.5.8.0-24.json", "symbolic link"),
        ("10.5.9.0-24.json", "longer than 64 KiB"),
    ] {
        let said = &snapshot.broken[name];
        assert!(said.contains(word), "{name}: {said}");
    }
    // A third host gets its lease, and none of those three.
    let mut request = wish(3);
    request.previous = ["10.5.7.0/24", "10.5.8.0/24", "10.5.9.0/24"]
        .map(|net| Dual::of_nets([net.parse().unwrap()]))
        .to_vec();
    let third = timeout(SOON, store(folder.path()).acquire(&request)).await;
    let third = third.unwrap().unwrap().lease().key;
    assert!(request.previous.iter().all(|net| net.v4 != third.0.v4));
}

#[tokio::test]
async fn a_fifo_or_a_huge_file_as_configuration_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    fifo(&config);
    let error = timeout(SOON, store(folder.path()).config()).await;
    refused(&error.unwrap().unwrap_err(), &["/config", "FIFO"]);
    fs::remove_file(&config).unwrap();
    huge(&config, 200 << 20);
    let error = store(folder.path()).config().await.unwrap_err();
    refused(&error, &["/config", "longer than 1 MiB"]);
    // Putting a good one there mends it.
    store(folder.path()).put_config("{}").await.unwrap();
    assert_eq!(store(folder.path()).config().await.unwrap(), "{}");
}

#[tokio::test]
async fn a_fifo_or_a_link_as_lock_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (lock, elsewhere) = (folder.path().join("lock"), folder.path().join("elsewhere"));
    for is_fifo in [true, false] {
        if is_fifo {
            fifo(&lock);
        } else {
            symlink(&elsewhere, &lock).unwrap();
        }
        let error = timeout(SOON, store(folder.path()).acquire(&wish(1))).await;
        refused(&error.unwrap().unwrap_err(), &["/lock", "regular file"]);
        let error = timeout(SOON, store(folder.path()).list()).await;
        refused(&error.unwrap().unwrap_err(), &["/lock", "regular file"]);
        assert!(!elsewhere.exists(), "made through a link");
        fs::remove_file(&lock).unwrap();
    }
}

#[tokio::test]
async fn nothing_is_written_through_a_link_in_place_of_the_unfinished_file() {
    let folder = tempfile::tempdir().unwrap();
    let (subnets, precious) = (
        folder.path().join("subnets"),
        folder.path().join("precious"),
    );
    fs::create_dir(&subnets).unwrap();
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, subnets.join(".unfinished")).unwrap();
    take(&store(folder.path()), &wish(1)).await;
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    fifo(&subnets.join(".unfinished"));
    let second = timeout(SOON, store(folder.path()).acquire(&wish(2))).await;
    second.unwrap().unwrap();
}

#[tokio::test]
async fn leases_of_more_than_64_mib_together_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    take(&store(folder.path()), &wish(1)).await;
    let text = format!("{{\"PublicIP\":\"192.168.0.7\"{}}}", " ".repeat(15 << 10));
    for n in 0..4500 {
        let name = format!("10.{}.{}.0-24.json", 6 + n / 256, n % 256);
        fs::write(folder.path().join("subnets").join(name), &text).unwrap();
    }
    let error = store(folder.path()).list().await.unwrap_err();
    refused(&error, &["/subnets", "64 MiB"]);
}

#[tokio::test]
async fn nobody_but_its_owner_can_open_the_folders_lock_though_an_earlier_version_made_it_for_all()
{
    let folder = tempfile::tempdir().unwrap();
    let lock = folder.path().join("lock");
    let mode = || fs::metadata(&lock).unwrap().permissions().mode() & 0o777;
    let lease = take(&store(folder.path()), &wish(1)).await;
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
    store(folder.path()).release(&lease.key).await.unwrap();
    assert_eq!(mode(), 0o600);
}
