use std::fs;

use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;
use tweed_model::subnet::keys_overlap;
use tweed_model::wire;
use tweed_store::{Ended, Holding, LeaseStore};

use super::scene::*;

fn held() -> (TempDir, tokio::runtime::Runtime) {
    (
        tempfile::tempdir().unwrap(),
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap(),
    )
}

#[test]
fn a_removed_or_edited_file_is_put_back() {
    let (folder, runtime) = held();
    runtime.block_on(async {
        let lease = store(folder.path()).acquire(&request(1)).await.unwrap();
        let mut kept = keep(folder.path(), &lease);
        kept.until_held().await;
        let file = file_of(folder.path(), &lease.key);
        let text = wire::format_attrs(&lease.attrs);
        let whole = || fs::read_to_string(&file).is_ok_and(|found| found == text);
        fs::remove_file(&file).unwrap();
        eventually("the file is back", whole).await;
        fs::write(&file, "broken").unwrap();
        eventually("the text is back", whole).await;
        fs::remove_dir_all(folder.path()).unwrap();
        eventually("the folder is back", whole).await;
        kept.until_held().await;
    });
}

#[test]
fn another_holder_takes_the_lease_away() {
    let (folder, runtime) = held();
    runtime.block_on(async {
        let lease = store(folder.path()).acquire(&request(1)).await.unwrap();
        let mut kept = keep(folder.path(), &lease);
        kept.until_held().await;
        let other = request(9).attrs;
        fs::write(
            file_of(folder.path(), &lease.key),
            wire::format_attrs(&other),
        )
        .unwrap();
        assert_eq!(
            timeout(SOON, kept.task).await.unwrap().unwrap(),
            Ended::Taken(other.public)
        );
        assert_eq!(*kept.standing.borrow(), Holding::Taken { by: other.public });
    });
}

#[test]
fn a_twin_asks_first_and_a_reinstalled_node_gets_no_answer() {
    let (folder, runtime) = held();
    runtime.block_on(async {
        let lease = store(folder.path()).acquire(&request(1)).await.unwrap();
        let mut twin = request(1);
        twin.attrs.data.v4 = Some(json!({"VNI": 1, "VtepMAC": "02:00:00:00:00:99"}));
        let mut kept = keep(folder.path(), &lease);
        kept.until_held().await;
        let other = store(folder.path()).acquire(&twin).await.unwrap();
        assert!(!keys_overlap(&other.key, &lease.key));
        store(folder.path()).release(&other.key).await.unwrap();

        kept.task.abort();
        let back = store(folder.path()).acquire(&twin).await.unwrap();
        assert_eq!(back.key, lease.key);
        assert_eq!(back.created, lease.created);
    });
}
