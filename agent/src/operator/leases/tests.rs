use tweed_model::{Dual, LeaseAttrs};
use tweed_store::memory::Memory;
use tweed_store::{LeaseStore, Request};

use super::*;
use crate::runtime::block_on;

const CONFIG: &str = r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}"#;

/// A network with two nodes.
async fn network() -> anyhow::Result<Memory> {
    let store = Memory::new();
    store.put_config(CONFIG).await?;
    let (config, _) = tweed_model::NetworkConfig::parse(CONFIG)?;
    for (public, subnet) in [("192.0.2.1", "10.5.7.0/24"), ("192.0.2.2", "10.5.9.0/24")] {
        let request = Request {
            pools: config.pools.clone(),
            attrs: LeaseAttrs {
                public: Dual::of_addrs([public.parse()?]),
                backend_type: "vxlan".to_owned(),
                data: Dual::default(),
            },
            previous: vec![Dual::of_nets([subnet.parse()?])],
            avoid: Vec::new(),
            held: None,
            announced: None,
            wishes: Dual::default(),
            inhabited: Dual::default(),
            also: Vec::new(),
            ttl: Duration::from_secs(60),
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
        let mut listing = Listing::of(store.list().await?, &BTreeMap::new());
        listing
            .broken
            .insert("x".to_owned(), "not a key".to_owned());
        Ok(listing.words())
    });
    assert_eq!(
        text,
        "SUBNETS      PUBLIC     BACKEND  TERM\n\
         10.5.7.0/24  192.0.2.1  vxlan    leased\n\
         10.5.9.0/24  192.0.2.2  vxlan    leased\n\
         unreadable: x: not a key\n"
    );
}

#[test]
fn the_time_that_is_left_is_told_where_it_is_known() {
    let text = on_network(async |store| {
        let key: SubnetKey = "10.5.7.0-24".parse()?;
        let left = [(key, Duration::from_secs(86_000))].into();
        Ok(Listing::of(store.list().await?, &left).words())
    });
    assert_eq!(
        text,
        "SUBNETS      PUBLIC     BACKEND  TERM    LEFT\n\
         10.5.7.0/24  192.0.2.1  vxlan    leased  23 h 53 min\n\
         10.5.9.0/24  192.0.2.2  vxlan    leased\n"
    );
    for (seconds, words) in [(59, "59 s"), (61, "1 min 1 s"), (3_600, "1 h 0 min")] {
        assert_eq!(duration(seconds), words);
    }
}

#[test]
fn a_lease_whose_node_is_alive_is_said_to_be_back() {
    let back = on_network(async |store| {
        let gone: SubnetKey = "10.5.8.0-24".parse()?;
        let alive: SubnetKey = "10.5.9.0-24".parse()?;
        taken_back(&store, &[gone, alive]).await
    });
    assert_eq!(back, ["10.5.9.0-24".parse().expect("a key")]);
}

#[test]
fn an_empty_network_says_so() {
    let listing = Listing::of(ClusterSnapshot::default(), &BTreeMap::new());
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
fn what_the_list_prints_of_a_lease_names_it() {
    let left = on_network(async |store| {
        let text = Listing::of(store.list().await?, &BTreeMap::new()).words();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .skip(1)
            .map(|line| line.split("  ").map(str::trim).collect())
            .collect();
        let words = |column: usize, line: usize| vec![lines[line][column].to_owned()];
        release(&store, &words(0, 0), Output::Json).await?;
        release(&store, &words(1, 1), Output::Json).await?;
        Ok(store.list().await?.leases.len())
    });
    assert_eq!(left, 0);
}

#[test]
fn an_address_of_a_lease_is_refused_with_the_lease_in_which_it_lies() {
    let said = on_network(async |store| {
        let pod = ["10.5.7.9".to_owned()];
        let refused = release(&store, &pod, Output::Json).await;
        Ok(refused.expect_err("refused").to_string())
    });
    assert!(said.contains("within the lease 10.5.7.0-24"), "{said}");
}

#[test]
fn the_subnets_of_a_dual_stack_lease_name_it_as_they_are_printed() {
    let lease: SubnetKey = "10.5.7.0-24&fd00:5::-64".parse().expect("a key");
    let snapshot = ClusterSnapshot {
        leases: [(
            lease,
            std::sync::Arc::new(Lease {
                key: lease,
                attrs: LeaseAttrs {
                    public: Dual::of_addrs(["192.0.2.1".parse().expect("an address")]),
                    backend_type: "vxlan".to_owned(),
                    data: Dual::default(),
                },
                node: Some("a".to_owned()),
                created: 1,
                term: Term::Leased,
            }),
        )]
        .into(),
        ..ClusterSnapshot::default()
    };
    for text in [
        "10.5.7.0/24 fd00:5::/64",
        "fd00:5::/64",
        "10.5.7.0-24&fd00:5::-64",
        "a",
        "192.0.2.1",
    ] {
        assert_eq!(key(text, &snapshot).expect(text), lease);
    }
    for text in ["10.5.7.0/24 fd00:6::/64", "b", "", "192.0.2.2"] {
        key(text, &snapshot).expect_err(text);
    }
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
            ("all", "\"all\" is no lease in the store"),
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
