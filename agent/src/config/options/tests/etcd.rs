//! What etcd as the store is told.

use super::*;

#[test]
fn the_first_endpoints_scheme_holds_for_all() {
    for (line, endpoints, encrypted) in [
        (
            "--etcd-endpoints=http://a:1,b:2",
            vec!["http://a:1", "http://b:2"],
            false,
        ),
        (
            "--etcd-endpoints=https://a:1,http://b:2/",
            vec!["https://a:1", "https://b:2"],
            true,
        ),
        ("--etcd-endpoints=a:1", vec!["http://a:1"], false),
        (
            "--etcd-endpoints=a:1 --etcd-cafile=/ca",
            vec!["https://a:1"],
            true,
        ),
        (
            "--etcd-endpoints=http://a:1 --etcd-cafile=/ca",
            vec!["http://a:1"],
            false,
        ),
        (
            "--etcd-endpoints=HTTPS://[::1]:2379,",
            vec!["https://[::1]:2379"],
            true,
        ),
    ] {
        let etcd = etcd(line);
        assert_eq!(etcd.endpoints, endpoints, "{line}");
        assert_eq!(etcd.tls.is_some(), encrypted, "{line}");
    }
    let text = notes("--etcd-endpoints=https://a:1,http://b:2").join("\n");
    assert_eq!(
        text,
        "--etcd-endpoints takes the scheme of its first endpoint, https://, for http://b:2 too"
    );
    let text = notes("--etcd-endpoints=http://a:1 --etcd-cafile=/ca").join("\n");
    assert!(text.contains("in plain text"), "{text}");
}

#[test]
fn endpoints_that_are_none_are_refused() {
    for value in [",", "ftp://a:1", "http://", "http://a:1/path", "a:1;b", ""] {
        let text = refused(&format!("--etcd-endpoints={value}"));
        assert!(text.starts_with("--etcd-endpoints: "), "{text}");
        assert!(text.contains("such as https://10.0.0.1:2379"), "{text}");
    }
}

#[test]
fn a_password_in_an_endpoint_is_refused_without_being_shown() {
    for value in [
        "http://user:s3cret@a:1",
        "user:s3cret@a:1",
        "http://a:1,https://u:s3cret@b:2,c:3",
        "http://u:s3cret,s3cret@b:2",
    ] {
        let text = refused(&format!("--etcd-endpoints={value}"));
        assert!(text.contains("--etcd-password-file"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn tls_works_with_a_ca_alone_and_a_certificate_needs_its_key() {
    let ca = etcd("--etcd-endpoints=https://a:1 --etcd-cafile=/ca").tls;
    assert_eq!(
        ca,
        Some(TlsOptions {
            ca: Some("/ca".into()),
            client: None
        })
    );
    let both = etcd("--etcd-endpoints=https://a:1 --etcd-certfile=/c --etcd-keyfile=/k").tls;
    assert_eq!(
        both,
        Some(TlsOptions {
            ca: None,
            client: Some(("/c".into(), "/k".into()))
        })
    );
    assert_eq!(
        refused("--etcd-certfile=/c"),
        "--etcd-certfile needs --etcd-keyfile beside it"
    );
    assert_eq!(
        refused("--etcd-keyfile=/k"),
        "--etcd-keyfile needs --etcd-certfile beside it"
    );
}

#[test]
fn a_password_comes_from_flag_variable_or_file_and_never_shows() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("password");
    std::fs::write(&file, "geheim\n").expect("written");
    let from_file = format!("--etcd-username=u --etcd-password-file={}", file.display());
    let lines = [
        ("--etcd-username=u --etcd-password=geheim", vec![]),
        (
            "--etcd-username=u",
            vec![("FLANNELD_ETCD_PASSWORD", "geheim")],
        ),
        (from_file.as_str(), vec![]),
    ];
    for (line, variables) in lines {
        let options = read_with(line, &variables).expect("options");
        let StoreOptions::Etcd(etcd) = &options.store else {
            panic!("not etcd");
        };
        let (name, password) = etcd.user.as_ref().expect("a user");
        assert_eq!((name.as_str(), password.expose()), ("u", "geheim"));
        assert!(!format!("{options:?}").contains("geheim"));
    }
}

#[test]
fn a_password_file_that_is_missing_or_empty_is_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("password");
    let line = format!("--etcd-username=u --etcd-password-file={}", file.display());
    assert!(
        refused(&line).contains("No such file"),
        "{}",
        refused(&line)
    );
    std::fs::write(&file, "\n").expect("written");
    assert!(refused(&line).ends_with("is empty"), "{}", refused(&line));
}

#[test]
fn a_user_without_password_is_said_to_have_no_effect() {
    assert_eq!(etcd("--etcd-username=u").user, None);
    let text = notes("--etcd-username=u").join("\n");
    assert!(
        text.starts_with("--etcd-username has no effect without a password"),
        "{text}"
    );
}

#[test]
fn an_endpoint_without_a_port_is_told_etcds() {
    for (value, whole) in [
        ("http://10.0.0.1", "http://10.0.0.1:2379"),
        ("https://etcd.example.org/", "https://etcd.example.org:2379"),
        ("http://a:2379,b", "b:2379"),
        ("http://[fd00::1]", "http://[fd00::1]:2379"),
    ] {
        let text = refused(&format!("--etcd-endpoints={value}"));
        assert!(
            text.contains("has no port") && text.ends_with(whole),
            "{text}"
        );
    }
}
