//! What Kubernetes as the store is told.

use super::*;

fn kube(line: &str, environment: &[(&str, &str)]) -> tweed_store::kube::KubeOptions {
    let options = read_with(line, environment).expect("options");
    match options.store {
        StoreOptions::Kube(kube) => kube,
        other => panic!("{other}"),
    }
}

#[test]
fn flannel_s_switch_chooses_kubernetes_with_flannel_s_defaults() {
    let options = kube("--ip-masq --kube-subnet-mgr", &[("NODE_NAME", "n1")]);
    assert_eq!(options, kube("--store=kube --node-name=n1", &[]));
    assert_eq!(options.prefix.to_string(), "flannel.alpha.coreos.com/");
    assert_eq!(
        options.config_file,
        Path::new("/etc/kube-flannel/net-conf.json")
    );
    assert!(options.set_condition && options.servers.is_empty());
    assert_eq!(options.node, NodeName::Known("n1".to_owned()));
    let pod = [("POD_NAME", "p"), ("POD_NAMESPACE", "ns")];
    let of_pod = NodeName::OfPod {
        namespace: "ns".to_owned(),
        pod: "p".to_owned(),
    };
    assert_eq!(kube("--kube-subnet-mgr", &pod).node, of_pod);
    assert_eq!(kube("--kube-subnet-mgr", &[]).node, NodeName::Unknown);
    assert!(read_with("--kube-subnet-mgr=false", &[]).is_ok());
}

#[test]
fn api_servers_are_listed_and_ours_wins_over_flannel_s_flag() {
    let both = "--store=kube --kube-api=10.0.0.1:6443,http://b:8080/ --kube-api-url=https://c";
    assert_eq!(
        kube(both, &[]).servers,
        ["https://10.0.0.1:6443", "http://b:8080"]
    );
    assert_eq!(
        notes(both),
        ["--kube-api-url has no effect beside --kube-api"]
    );
    let flannels = "--kube-subnet-mgr --kube-api-url=https://c:6443/k8s/clusters/x";
    assert_eq!(
        kube(flannels, &[]).servers,
        ["https://c:6443/k8s/clusters/x"]
    );
    assert!(refused("--store=kube --kube-api=ftp://a").contains("--kube-api"));
}

#[test]
fn a_password_in_an_api_servers_address_is_refused_without_being_shown() {
    for flag in ["--kube-api", "--kube-api-url"] {
        for value in [
            "https://u:s3cret@a:1",
            "u:s3cret@a",
            "https://a,https://u:s3cret,s3cret@b",
        ] {
            let text = refused(&format!("--store=kube {flag}={value}"));
            assert!(
                text.starts_with(flag) && text.contains("--kubeconfig-file"),
                "{text}"
            );
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}

#[test]
fn what_kubernetes_can_t_use_is_refused_with_what_is_allowed() {
    assert_eq!(
        refused("--kube-subnet-mgr --store=etcd"),
        "--store and --kube-subnet-mgr name two stores; leave one of them out"
    );
    assert!(refused("--kube-subnet-mgr --kube-annotation-prefix=org").contains("DNS name"));
    assert_eq!(
        refused("--store=consul"),
        "--store: \"consul\" is not a store; there are: etcd, kube, file"
    );
}

#[test]
fn another_annotation_prefix_is_another_network_on_this_host() {
    let name = |line| read(line).host.instance.to_string();
    assert_eq!(name("--kube-subnet-mgr"), "tweed");
    let other = name("--kube-subnet-mgr --kube-annotation-prefix=example.com/two");
    assert!(other.starts_with("tweed-"), "{other}");
}
