//! The store in a folder. Locks belong to an open file, so that threads with their own handles stand for processes.

mod content;
mod hostile;
mod keep;
mod scene;

use std::fs;

use tempfile::TempDir;
use tweed_model::SubnetKey;
use tweed_store::file::FileStore;

use crate::contract;

pub(crate) struct Network(TempDir);

impl contract::Network for Network {
    type Store = FileStore;

    async fn start() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn node(&self) -> FileStore {
        scene::store(self.0.path())
    }

    async fn put(&self, key: &SubnetKey, text: &str) {
        let file = scene::file_of(self.0.path(), key);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let created = fs::metadata(&file).and_then(|old| old.modified()).ok();
        fs::write(&file, text).unwrap();
        // As the store does: a text that is replaced leaves its time to its successor.
        if let Some(created) = created {
            let file = fs::File::options().write(true).open(&file).unwrap();
            file.set_modified(created).unwrap();
        }
    }
}
