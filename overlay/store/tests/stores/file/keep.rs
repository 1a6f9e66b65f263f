//! Keeping a lease in a folder.

use std::fs;

use tweed_model::wire;

use super::scene::*;

#[tokio::test]
async fn a_removed_or_edited_file_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let (lease, mut kept) = keep(folder.path(), &wish(1)).await;
    kept.until_held().await;
    let file = file_of(folder.path(), &lease.key);
    let text = wire::format_attrs(&lease.attrs);
    let whole = async || fs::read_to_string(&file).is_ok_and(|found| found == text);
    fs::remove_file(&file).unwrap();
    eventually("the file is back", &whole).await;
    fs::write(&file, "broken").unwrap();
    eventually("the text is back", &whole).await;
    fs::remove_dir_all(folder.path()).unwrap();
    eventually("the folder is back", &whole).await;
    kept.until_held().await;
}
