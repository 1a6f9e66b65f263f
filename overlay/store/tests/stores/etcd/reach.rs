//! Ways to reach etcd, and what is said when there is none.

use std::time::Duration;

use etcd_client::{Client, Permission, PermissionType};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tweed_store::etcd::{Etcd, EtcdOptions};
use tweed_store::{LeaseStore, StoreError};

use super::relay::Relay;
use super::scene::*;
use super::server::{PREFIX, Server, free_port, make_certificates, make_certificates_for};

struct Tls {
    folder: TempDir,
    server: Server,
}

impl Tls {
    async fn start(client_certificates: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificates(folder.path());
        Self::start_in(folder, client_certificates).await
    }

    async fn start_in(folder: TempDir, client_certificates: bool) -> Self {
        let file = |name: &str| folder.path().join(name).display().to_string();
        let mut flags = vec![
            "--cert-file".into(),
            file("server.pem"),
            "--key-file".into(),
            file("server.key"),
        ];
        if client_certificates {
            flags.extend([
                "--client-cert-auth".into(),
                "--trusted-ca-file".into(),
                file("ca.pem"),
            ]);
        }
        let server = Server::start_tls(&flags).await;
        Self { folder, server }
    }

    fn options(&self, ca: bool, client: bool) -> EtcdOptions {
        let file = |wanted: bool, name: &str| wanted.then(|| self.folder.path().join(name));
        EtcdOptions {
            ca_file: file(ca, "ca.pem"),
            cert_file: file(client, "client.pem"),
            key_file: file(client, "client.key"),
            ..self.server.options()
        }
    }
}

async fn lease_through(options: EtcdOptions) {
    let lease = take(&Etcd::new(options.clone()).unwrap(), &request(v4(), 1)).await;
    let mut followed = follow(Etcd::new(options).unwrap());
    followed
        .until(|snapshot| snapshot.leases.contains_key(&lease.key))
        .await;
}

#[tokio::test]
async fn tls_needs_no_more_than_the_authority() {
    let tls = Tls::start(false).await;
    lease_through(tls.options(true, false)).await;
    let bare = tls.server.url().replace("https://", "");
    lease_through(EtcdOptions {
        endpoints: vec![bare],
        ..tls.options(true, false)
    })
    .await;
}

#[tokio::test]
async fn tls_with_a_client_certificate() {
    let tls = Tls::start(true).await;
    lease_through(tls.options(true, true)).await;
    let error = Etcd::new(tls.options(true, false))
        .unwrap()
        .list()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("--etcd-certfile"), "{error}");
}

#[tokio::test]
async fn an_unknown_authority_is_named_as_the_reason() {
    let tls = Tls::start(false).await;
    let error = Etcd::new(tls.options(false, false))
        .unwrap()
        .list()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("--etcd-cafile"), "{error}");
    assert!(error.to_string().contains(&tls.server.url()), "{error}");
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
}

#[tokio::test]
async fn certificates_that_have_expired_are_told_apart_and_named() {
    for (days, words) in [
        ([-1, 2], "its certificate is not valid at this time"),
        ([2, -1], "client certificate"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        make_certificates_for(folder.path(), days);
        let tls = Tls::start_in(folder, true).await;
        let store = Etcd::new(tls.options(true, true)).unwrap();
        let text = store.list().await.unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
        assert!(text.contains(&tls.server.url()), "{text}");
    }
}

#[tokio::test]
async fn a_certificate_file_that_is_missing_is_named() {
    let server = Server::start().await;
    let options = EtcdOptions {
        endpoints: vec![server.url().replace("http://", "https://")],
        ca_file: Some("/nowhere/ca.pem".into()),
        ..server.options()
    };
    let error = Etcd::new(options)
        .unwrap()
        .list()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("--etcd-cafile /nowhere/ca.pem"), "{error}");
}

/// Switches login on: root, and a user who may do what a node needs.
async fn demand_login(client: &mut Client) {
    client.user_add("root", "root-secret", None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.role_add("overlay").await.unwrap();
    let all = Permission::new(PermissionType::Readwrite, PREFIX).with_prefix();
    client.role_grant_permission("overlay", all).await.unwrap();
    client.user_add("node", "node-secret", None).await.unwrap();
    client.user_grant_role("node", "overlay").await.unwrap();
    client.role_add("nothing").await.unwrap();
    client
        .user_add("guest", "guest-secret", None)
        .await
        .unwrap();
    client.user_grant_role("guest", "nothing").await.unwrap();
    client.auth_enable().await.unwrap();
}

fn as_user(server: &Server, user: &str, password: &str) -> EtcdOptions {
    EtcdOptions {
        user: Some((user.into(), password.into())),
        ..server.options()
    }
}

#[tokio::test]
async fn with_login_a_lease_is_taken_kept_and_followed_over_a_restart() {
    let mut server = Server::start().await;
    demand_login(&mut server.client().await).await;
    let options = as_user(&server, "node", "node-secret");
    let store = Etcd::new(options.clone()).unwrap();
    let (_lease, mut kept) = keep(&store, &request(v4(), 1)).await;
    kept.until_held().await;
    let mut followed = follow(Etcd::new(options.clone()).unwrap());
    followed.until(|snapshot| snapshot.leases.len() == 1).await;

    // A restarted etcd knows none of the tokens it gave out.
    server.stop();
    kept.until_unsure().await;
    server.run_again();
    kept.until_held().await;
    let second = take(&Etcd::new(options).unwrap(), &request(v4(), 2)).await;
    followed
        .until(|snapshot| snapshot.leases.contains_key(&second.key))
        .await;
}

#[tokio::test]
async fn a_token_that_ran_out_is_renewed_without_a_word() {
    let server = Server::start_with(&["--auth-token-ttl".into(), "1".into()]).await;
    demand_login(&mut server.client().await).await;
    let store = Etcd::new(as_user(&server, "node", "node-secret")).unwrap();
    let lease = take(&store, &request(v4(), 1)).await;
    let mut followed = follow(Etcd::new(as_user(&server, "node", "node-secret")).unwrap());
    followed.until(|snapshot| snapshot.in_sync).await;
    sleep(Duration::from_secs(3)).await;
    store.release(&lease.key).await.unwrap();
    followed.until(|snapshot| snapshot.leases.is_empty()).await;
}

#[tokio::test]
async fn a_login_is_left_out_where_nobody_needs_one_and_made_as_soon_as_somebody_does() {
    let server = Server::start().await;
    let store = Etcd::new(as_user(&server, "node", "node-secret")).unwrap();
    take(&store, &request(v4(), 1)).await;
    demand_login(&mut server.client().await).await;
    let again = Instant::now() + Duration::from_secs(10);
    while let Err(error) = store.list().await {
        assert!(Instant::now() < again, "{error}");
    }
}

#[tokio::test]
async fn a_refused_login_is_explained_and_tells_no_secret() {
    let server = Server::start().await;
    demand_login(&mut server.client().await).await;
    for (options, fix) in [
        (as_user(&server, "node", "wrong-secret"), "--etcd-password"),
        (
            as_user(&server, "stranger", "wrong-secret"),
            "--etcd-username",
        ),
        (
            as_user(&server, "guest", "guest-secret"),
            "grant-permission",
        ),
        (server.options(), "--etcd-username"),
    ] {
        let error = Etcd::new(options).unwrap().list().await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(fix) && text.contains(&server.url()), "{text}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_dead_endpoint_in_front_is_passed_over() {
    let server = Server::start().await;
    let dead = format!("http://127.0.0.1:{}", free_port());
    let options = EtcdOptions {
        endpoints: vec![dead, server.url()],
        ..server.options()
    };
    lease_through(options).await;
}

#[tokio::test]
async fn a_silent_endpoint_in_front_costs_one_deadline_once() {
    let server = Server::start().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let options = EtcdOptions {
        endpoints: vec![url, server.url()],
        timeout: Duration::from_secs(1),
        ..server.options()
    };
    let store = Etcd::new(options).unwrap();
    let started = Instant::now();
    for _ in 0..5 {
        store.list().await.unwrap();
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn when_nobody_answers_each_endpoint_is_named_with_its_reason() {
    let [a, b] = [free_port(), free_port()].map(|port| format!("http://127.0.0.1:{port}"));
    let options = EtcdOptions {
        endpoints: vec![a.clone(), b.clone()],
        ..EtcdOptions::default()
    };
    let error = Etcd::new(options).unwrap().list().await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&a) && text.contains(&b), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_follower_moves_to_the_endpoint_that_is_left() {
    // Two ways to one server; the first is cut.
    let server = Server::start().await;
    let relay = Relay::start(&server.url()).await;
    let options = EtcdOptions {
        endpoints: vec![relay.url.clone(), server.url()],
        ..server.options()
    };
    let mut followed = follow(Etcd::new(options).unwrap());
    followed.until(|snapshot| snapshot.in_sync).await;
    relay.cut();
    let lease = take(&server.store(), &request(v4(), 1)).await;
    followed
        .until(|snapshot| snapshot.leases.contains_key(&lease.key))
        .await;
}

#[tokio::test]
async fn a_prefix_without_leading_slash_works_as_in_flannel() {
    let server = Server::start().await;
    let store = Etcd::new(EtcdOptions {
        prefix: "relative//net/".into(),
        ..server.options()
    })
    .unwrap();
    let lease = take(&store, &request(v4(), 1)).await;
    let mut client = server.client().await;
    let found = client
        .get(format!("relative/net/subnets/{}", lease.key), None)
        .await
        .unwrap();
    assert_eq!(found.kvs().len(), 1);
}

#[tokio::test]
async fn a_connection_that_died_unnoticed_costs_no_error() {
    let mut server = Server::start().await;
    let store = server.store();
    store.list().await.unwrap();
    server.restart().await;
    store.list().await.unwrap();
}
