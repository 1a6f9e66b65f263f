//! The etcd store against a real etcd.

mod acquire;
mod follow;
mod keep;
mod pki;
mod reach;
mod relay;
mod scene;
mod server;
mod silence;
mod stampede;
mod tls;

use tweed_model::SubnetKey;
use tweed_store::etcd::Etcd;

use crate::contract;
use server::Server;

pub(crate) struct Network(Server);

impl contract::Network for Network {
    type Store = Etcd;

    async fn start() -> Self {
        Self(Server::start().await)
    }

    fn node(&self) -> Etcd {
        self.0.store()
    }

    async fn put(&self, key: &SubnetKey, text: &str) {
        scene::put(&mut self.0.client().await, &key.to_string(), text, 0).await;
    }
}
