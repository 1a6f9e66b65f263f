use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::time::sleep;
use tweed_model::lease::Term;
use tweed_model::subnet::keys_overlap;
use tweed_model::{Dual, wire};
use tweed_store::file::{FileOptions, FileStore};
use tweed_store::{Held, LeaseStore, StoreError};

use super::scene::*;

#[tokio::test]
async fn a_lease_is_a_file_with_flannel_s_value() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("not/there/yet");
    let lease = take(&store(&missing), &wish(1)).await;
    let text = fs::read_to_string(file_of(&missing, &lease.key)).unwrap();
    assert_eq!(
        text,
        r#"{"PublicIP":"192.168.0.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}"#
    );
    assert_eq!(
        *store(&missing).list().await.unwrap().leases[&lease.key],
        lease
    );
    let again = take(&store(&missing), &wish(1)).await;
    assert_eq!(again, lease);
}

#[test]
fn as_many_writers_as_there_are_subnets_get_one_each() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let writers: Vec<_> = (1..=31)
        .map(|n| {
            let folder = folder.clone();
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime
                    .block_on(store(folder.path()).acquire(&wish(n)))
                    .unwrap()
                    .lease()
                    .key
            })
        })
        .collect();
    let keys: Vec<_> = writers
        .into_iter()
        .map(|writer| writer.join().unwrap())
        .collect();
    for (index, a) in keys.iter().enumerate() {
        assert!(keys[..index].iter().all(|b| !keys_overlap(a, b)), "{a}");
    }
    let files: BTreeSet<_> = fs::read_dir(folder.path().join("subnets"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        files,
        keys.iter().map(|key| format!("{key}.json")).collect()
    );
}

#[tokio::test]
async fn writers_and_followers_at_once_do_not_starve_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut followers: Vec<_> = (0..8).map(|_| follow(store(folder.path()))).collect();
    let writers: Vec<_> = (1..=20)
        .map(|n| {
            let store = store(folder.path());
            tokio::spawn(async move { take(&store, &wish(n)).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let expected = store(folder.path()).list().await.unwrap().leases;
    for follower in &mut followers {
        follower.until(|snapshot| snapshot.leases == expected).await;
    }
}

#[tokio::test]
async fn a_configuration_is_read_under_either_name_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let error = store.config().await.unwrap_err();
    assert!(
        matches!(&error, StoreError::NoConfig { at, .. } if at.ends_with("/config")),
        "{error}"
    );
    fs::write(folder.path().join("net-conf.json"), "{}").unwrap();
    assert_eq!(store.config().await.unwrap(), "{}");
    store
        .put_config(r#"{"Network":"10.5.0.0/16"}"#)
        .await
        .unwrap();
    assert_eq!(
        fs::read_to_string(folder.path().join("net-conf.json")).unwrap(),
        r#"{"Network":"10.5.0.0/16"}"#
    );
    fs::write(folder.path().join("config"), "[]").unwrap();
    assert_eq!(store.config().await.unwrap(), "[]");
}

#[tokio::test]
async fn followers_see_a_folder_come_go_and_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let nested = folder.path().join("later");
    let mut followed = follow(store(&nested));
    followed.until(|snapshot| snapshot.in_sync).await;
    let first = take(&store(&nested), &wish(1)).await;
    followed
        .until(|snapshot| snapshot.leases.contains_key(&first.key))
        .await;
    fs::remove_dir_all(&nested).unwrap();
    followed.until(|snapshot| snapshot.leases.is_empty()).await;
    let second = take(&store(&nested), &wish(2)).await;
    followed
        .until(|snapshot| snapshot.leases.contains_key(&second.key))
        .await;
}

#[tokio::test]
async fn without_any_event_the_folder_is_read_again_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let lease = take(&store(folder.path()), &wish(1)).await;
    let options = FileOptions {
        folder: folder.path().to_owned(),
        reread: Duration::from_millis(200),
    };
    let mut followed = follow(FileStore::new(options));
    followed.until(|snapshot| snapshot.in_sync).await;
    // A file that stays open announces nothing, as little as another machine does that writes to a shared folder.
    let mut open = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(file_of(folder.path(), &lease.key))
        .unwrap();
    let moved = wish(2).attrs;
    open.write_all(wire::format_attrs(&moved).as_bytes())
        .unwrap();
    followed
        .until(|snapshot| {
            snapshot
                .leases
                .get(&lease.key)
                .is_some_and(|lease| lease.attrs == moved)
        })
        .await;
}

#[tokio::test]
async fn bad_files_are_named_and_harm_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let lease = take(&store(folder.path()), &wish(1)).await;
    let subnets = folder.path().join("subnets");
    for (name, text) in [
        ("10.5.9.0-24.json", "not JSON"),
        ("10.5.9.1-24.json", "{}"),
        ("notes.txt", ""),
        ("10.5.8.0-24.json~", "{}"),
    ] {
        fs::write(subnets.join(name), text).unwrap();
    }
    fs::create_dir(subnets.join("10.5.7.0-24.json")).unwrap();
    fs::write(subnets.join(".unfinished"), "half").unwrap();
    let snapshot = store(folder.path()).list().await.unwrap();
    assert_eq!(snapshot.broken.len(), 5, "{:?}", snapshot.broken);
    assert_eq!(snapshot.leases.keys().collect::<Vec<_>>(), [&lease.key]);
    let mut request = wish(2);
    request.previous = vec![Dual::of_nets(["10.5.9.0/24".parse().unwrap()])];
    let second = take(&store(folder.path()), &request).await;
    assert_ne!(
        second.key.0.v4, request.previous[0].v4,
        "an unreadable subnet isn't given away"
    );
}

#[tokio::test]
async fn a_reservation_is_found_by_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let subnets = folder.path().join("subnets");
    fs::create_dir(&subnets).unwrap();
    let mut wish = wish(1);
    wish.pools.v6 = None;
    fs::write(
        subnets.join("10.5.30.0-24.json"),
        r#"{"publicip":"192.168.0.1"}"#,
    )
    .unwrap();
    let lease = take(&store(folder.path()), &wish).await;
    assert_eq!(lease.key.to_string(), "10.5.30.0-24");
    assert_eq!(lease.term, Term::Reserved);
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_is_named_and_leaves_the_snapshot_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (_lease, mut kept) = keep(folder.path(), &wish(1)).await;
    let options = FileOptions {
        folder: folder.path().to_owned(),
        reread: Duration::from_millis(50),
    };
    let mut followed = follow(FileStore::new(options));
    followed.until(|snapshot| snapshot.leases.len() == 1).await;
    kept.until_held().await;
    let (there, away) = (folder.path().join("subnets"), folder.path().join("away"));
    fs::rename(&there, &away).unwrap();
    fs::write(&there, "a file where a folder should be").unwrap();
    let text = format!("{:?}", kept.until_unsure().await);
    assert!(text.contains("/subnets"), "{text}");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(followed.snapshots.borrow().leases.len(), 1);
    assert!(matches!(
        store(folder.path()).list().await,
        Err(StoreError::Refused(_))
    ));
}

#[tokio::test]
async fn a_lock_that_is_never_let_go_is_reported_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let lease = take(&store(folder.path()), &wish(1)).await;
    let lock = fs::OpenOptions::new()
        .write(true)
        .open(folder.path().join("lock"))
        .unwrap();
    lock.lock().unwrap();
    let error = store(folder.path())
        .release(&lease.key)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/lock") && error.contains("fuser"),
        "{error}"
    );
    drop(lock);
    store(folder.path()).release(&lease.key).await.unwrap();
    let error = store(folder.path()).release(&lease.key).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound(_)), "{error}");
}
