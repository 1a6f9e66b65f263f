use tweed_overlay::model::{Dual, LeaseAttrs};
use tweed_overlay::store::memory::Memory;
use tweed_overlay::store::{LeaseStore, Request};

use super::*;
use crate::command::run::block_on;

const CONFIG: &str = r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}"#;

/// A network with two nodes.
async fn network() -> anyhow::Result<Memory> {
    let store = Memory::new();
    store.put_config(CONFIG).await?;
    let (config, _) = tweed_overlay::model::NetworkConfig::parse(CONFIG)?;
    for (public, subnet) in [("192.0.2.1", "10.5.7.0/24"), ("192.0.2.2", "10.5.9.0/24")] {
        let request = Request {
            pools: config.pools.clone(),
            attrs: LeaseAttrs {
                public: Dual::of_addrs([public.parse()?]),
                backend_type: "vxlan".to_owned(),
                data: Dual::default(),
            },
            previous: vec![Dual::of_nets([subnet.parse()?])],
            held: None,
            also: Vec::new(),
            ttl: std::time::Duration::from_secs(60),
        };
        store.node().acquire(&request).await?;
    }
    Ok(store)
}

fn on_network<T>(test: impl AsyncFnOnce(Memory) -> anyhow::Result<T>) -> T {
    block_on(async { test(network().await?).await }).expect("done")
}

#[test]
fn leases_are_listed_in_columns_with_what_cannot_be_read() {
    let text = on_network(async |store| {
        let mut listing = Listing::of(store.list().await?);
        listing
            .broken
            .insert("x".to_owned(), "not a key".to_owned());
        Ok(listing.words())
    });
    assert_eq!(
        text,
        "SUBNETS      PUBLIC     BACKEND  TERM    NODE\n\
         10.5.7.0/24  192.0.2.1  vxlan    leased\n\
         10.5.9.0/24  192.0.2.2  vxlan    leased\n\
         unreadable: x: not a key\n"
    );
}

#[test]
fn an_empty_network_says_so() {
    let listing = Listing::of(ClusterSnapshot::default());
    assert_eq!(listing.words(), "no leases\n");
}

#[test]
fn a_lease_is_released_by_its_key_or_by_its_subnet() {
    let left = on_network(async |store| {
        release(&store, &["10.5.7.0-24".to_owned()], Output::Json).await?;
        let left = store.list().await?.leases.len();
        release(&store, &["10.5.9.0/24".to_owned()], Output::Text).await?;
        Ok((left, store.list().await?.leases.len()))
    });
    assert_eq!(left, (1, 0));
}

#[test]
fn what_is_not_there_or_no_lease_is_named_and_nothing_is_released() {
    on_network(async |store| {
        for (text, reason) in [
            (
                "10.5.8.0/24",
                "no lease in the store has the subnet 10.5.8.0/24",
            ),
            ("10.5.0.0/16", "no lease in the store has the subnet"),
            ("all", "\"all\" is neither a lease such as"),
        ] {
            let leases = ["10.5.7.0-24".to_owned(), text.to_owned()];
            let error = release(&store, &leases, Output::Text)
                .await
                .expect_err("refused");
            assert!(error.to_string().contains(reason), "{error}");
        }
        assert_eq!(store.list().await?.leases.len(), 2);
        Ok(())
    });
}
