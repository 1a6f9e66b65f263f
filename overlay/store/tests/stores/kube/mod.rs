//! The Kubernetes store against a small API server of our own, for what a real one can't be made to do in a test.

mod fake;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tweed_model::ClusterSnapshot;
use tweed_model::annotations::Prefix;
use tweed_store::kube::{KubeOptions, KubeStore, NodeName};
use tweed_store::{Cluster, LeaseStore};

use fake::Fake;

const SOON: Duration = Duration::from_secs(15);

fn store(fake: &Fake) -> Arc<KubeStore> {
    Arc::new(KubeStore::new(KubeOptions {
        servers: vec![fake.url.clone()],
        kubeconfig: None,
        prefix: Prefix::default(),
        config_file: "/nowhere".into(),
        node: NodeName::Known("n1".into()),
        set_condition: false,
        remove_taints: Vec::new(),
    }))
}

async fn until(
    seen: &mut watch::Receiver<Arc<ClusterSnapshot>>,
    what: impl FnMut(&Arc<ClusterSnapshot>) -> bool,
) -> Arc<ClusterSnapshot> {
    let found = timeout(SOON, seen.wait_for(what)).await;
    found.expect("in time").unwrap().clone()
}

fn follow(store: &Arc<KubeStore>) -> watch::Receiver<Arc<ClusterSnapshot>> {
    let (out, seen) = watch::channel(Arc::default());
    let store = Arc::clone(store);
    tokio::spawn(async move { store.follow(out, Arc::new(Notify::new())).await });
    seen
}

#[tokio::test]
async fn after_a_restore_from_a_backup_new_nodes_are_peers_though_the_watch_is_silent() {
    let fake = Fake::start(100).await;
    fake.put("n1", 1, 20);
    fake.put("gone", 9, 90);
    let store = store(&fake);
    let mut seen = follow(&store);
    store.own().await.unwrap();
    until(&mut seen, |snapshot| snapshot.leases.len() == 2).await;

    // Back to version 50, where one node was not there yet; then another one joins.
    fake.restore(50, &["gone"]);
    fake.put("n2", 2, 60);
    let now = until(&mut seen, |snapshot| {
        let nodes: Vec<_> = snapshot
            .leases
            .values()
            .filter_map(|l| l.node.clone())
            .collect();
        nodes == ["n1", "n2"]
    })
    .await;
    assert!(now.in_sync);

    // From then on the watch gets events again.
    let listings = now.listings;
    fake.put("n3", 3, 70);
    let now = until(&mut seen, |snapshot| snapshot.leases.len() == 3).await;
    assert_eq!(now.listings, listings);
}

#[tokio::test]
async fn a_server_that_merely_restarts_is_not_listed_afresh() {
    let fake = Fake::start(100).await;
    fake.put("n1", 1, 20);
    let store = store(&fake);
    let mut seen = follow(&store);
    store.own().await.unwrap();
    let before = until(&mut seen, |snapshot| snapshot.leases.len() == 1).await;
    fake.restore(100, &[]);
    // The own Node is read again, and with it the server's version.
    let asked = fake.requests();
    timeout(SOON, async {
        while fake.requests() < asked + 3 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    fake.put("n2", 2, 101);
    let now = until(&mut seen, |snapshot| snapshot.leases.len() == 2).await;
    assert_eq!(now.listings, before.listings);
}

/// A store by a kubeconfig whose user has this, in a folder with a file `token`.
fn by_kubeconfig(fake: &Fake, folder: &Path, user: &str) -> KubeStore {
    let file = folder.join("kubeconfig");
    let text = format!(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nclusters: [{{name: c, cluster: \
         {{server: '{}'}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n",
        fake.url
    );
    std::fs::write(&file, text).unwrap();
    KubeStore::new(KubeOptions {
        servers: Vec::new(),
        kubeconfig: Some(file),
        prefix: Prefix::default(),
        config_file: "/nowhere".into(),
        node: NodeName::Unknown,
        set_condition: false,
        remove_taints: Vec::new(),
    })
}

#[tokio::test]
async fn a_kubeconfigs_token_file_may_end_in_a_line_break() {
    let fake = Fake::start(100).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "abc.def\n").unwrap();
    let store = by_kubeconfig(&fake, folder.path(), "tokenFile: token");
    store.list().await.unwrap();
    assert_eq!(fake.authorization().as_deref(), Some("Bearer abc.def"));
}

#[tokio::test]
async fn a_programs_token_is_sent_and_one_with_a_line_break_is_refused_by_the_programs_name() {
    let fake = Fake::start(100).await;
    let folder = tempfile::tempdir().unwrap();
    let answer = folder.path().join("answer");
    let user = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, command: cat, args: [{}]}}",
        answer.display()
    );
    let good = r#"{"status":{"token":"abc\n","expirationTimestamp":"2030-01-01T00:00:00Z"}}"#;
    std::fs::write(&answer, good).unwrap();
    let store = by_kubeconfig(&fake, folder.path(), &user);
    store.list().await.unwrap();
    assert_eq!(fake.authorization().as_deref(), Some("Bearer abc"));
    for bad in [
        r#"{"status":{"token":"S3CRET\ntok"}}"#,
        r#"{"status":{"token":"S3CRET\ntok","expirationTimestamp":"2030-01-01T00:00:00Z"}}"#,
    ] {
        std::fs::write(&answer, bad).unwrap();
        let store = by_kubeconfig(&fake, folder.path(), &user);
        let said = store.list().await.unwrap_err().to_string();
        assert!(
            said.contains("kubeconfig") && said.contains("`exec`, cat: its token is no token"),
            "{said}"
        );
        assert!(!said.contains("S3CRET"), "{said}");
    }
}
