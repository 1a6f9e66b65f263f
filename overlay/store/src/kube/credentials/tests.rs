//! Kubeconfigs and tokens as people write them, with mistakes.

use proptest::prelude::*;

use super::*;

#[test]
fn data_may_be_broken_into_lines() {
    assert_eq!(base64("aGVsbG8=").unwrap(), b"hello");
    assert_eq!(base64("aGVs\n bG8=\n").unwrap(), b"hello");
    assert_eq!(base64("aGVsbA==").unwrap(), b"hell");
    for wrong in ["a", "aGVs-G8=", "aGVsb\u{e9}8="] {
        assert_eq!(base64(wrong), None, "{wrong}");
    }
}

/// A kubeconfig whose user has these lines.
fn with_user(lines: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster:\n    server: https://192.0.2.1:6443\n\
         users:\n- name: u\n  user:\n{lines}\ncontexts:\n- name: x\n  context:\n    cluster: c\n    user: u\n\
         current-context: x\n"
    )
}

/// What is said of a kubeconfig that can't be used.
async fn said_of(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kc");
    std::fs::write(&file, text).unwrap();
    let said = of_kubeconfig(&file).await.map(|_| ()).unwrap_err();
    assert!(!said.contains("S3CRET"), "{text}\nsays: {said}");
    assert!(!said.contains('\n'), "{said}");
    said
}

#[tokio::test]
async fn a_mistake_in_a_kubeconfig_is_named_by_its_place_and_kind_and_no_line_is_quoted() {
    let secrets = [
        "token",
        "password",
        "client-key-data",
        "client-certificate-data",
    ];
    let slips = [
        ("    KEY: S3CRET\n    KEY: S3CRET", "twice"),
        ("    username: [x]\n    KEY: S3CRET", "line "),
        ("    KEY: [S3CRET]", "line "),
        ("    KEY: {S3CRET: S3CRET}", "line "),
        ("    KEY: S3CRET\n    S3CRET: 1\n    S3CRET: 2", ""),
        ("    KEY: S3CRET\n   impersonate: x", "line "),
        ("    KEY: S3CRET\n      impersonate: x", "line "),
        ("    KEY: \"S3CRET", "line "),
        ("    KEY: [S3CRET", "line "),
        ("    KEY: S3CRET\n\timpersonate: x", "line "),
        ("    KEY: *S3CRET", "line "),
        ("    KEY: !!int S3CRET", ""),
        ("    KEY: !S3CRET {}", "line "),
        ("    S3CRET\n    KEY: S3CRET", "line "),
        ("    exec: S3CRET\n    KEY: S3CRET", "line "),
    ];
    for secret in secrets {
        for (lines, word) in slips {
            let text = with_user(&lines.replace("KEY", secret));
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("kc");
            std::fs::write(&file, &text).unwrap();
            // Some are none for the parser; those may have no word.
            if word.is_empty() && of_kubeconfig(&file).await.is_ok() {
                continue;
            }
            let said = said_of(&text).await;
            assert!(said.contains(word), "{text}\nsays: {said}");
        }
    }
    let said = said_of(&with_user("    token: S3CRET\n    token: S3CRET")).await;
    assert!(
        said.starts_with("line 11, column 5: a key stands there twice"),
        "{said}"
    );
}

#[tokio::test]
async fn a_password_in_a_servers_address_is_refused_without_being_shown() {
    let text = with_user("    token: t").replace("https://", "https://u:S3CRET@");
    assert!(said_of(&text).await.contains("`password`"));
}

#[tokio::test]
async fn a_token_with_a_line_break_within_is_named_and_ends_no_process() {
    for token in ["S3CRET\\ntok", "S3CRET\\u0007", "\\0S3CRET"] {
        let said = said_of(&with_user(&format!("    token: \"{token}\""))).await;
        assert!(said.starts_with("its token is no token: "), "{said}");
        let provider = "    auth-provider:\n      name: oidc\n      config:\n        id-token: ";
        let said = said_of(&with_user(&format!("{provider}\"{token}\""))).await;
        assert!(said.starts_with("id-token is no token: "), "{said}");
    }
    let provider = "    auth-provider:\n      name: gcp\n      config:\n        cmd-path: gcloud";
    assert!(said_of(&with_user(provider)).await.contains("`exec`"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        let _ = base64(&text);
    }
}
