use std::fs;

use super::*;

const V2: &str = r#"
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  conf_dir = "/not/this/one"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/var/lib/rancher/k3s/data/cni"
  conf_dir = "/var/lib/rancher/k3s/agent/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".registry]
"#;
const V3: &str = r#"
version = 3
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/var/lib/rancher/k3s/data/cni"]
  conf_dir = "/var/lib/rancher/k3s/agent/etc/cni/net.d"
"#;
const WITHOUT: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\n";

struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn containerd(self, distribution: &str, text: &str) -> Self {
        let folder = format!("var/lib/rancher/{distribution}/agent/etc/containerd");
        let folder = self.0.path().join(folder);
        fs::create_dir_all(&folder).expect("made");
        // What it names is on this host.
        let root = self.0.path().to_string_lossy();
        let text = text.replace("\"/var", &format!("\"{root}/var"));
        fs::write(folder.join("config.toml"), text).expect("written");
        self
    }

    fn settled(&self, layout: Layout, list: bool) -> (String, String, Option<String>) {
        let mut options = options(layout);
        let said = settle(&mut options, self.0.path(), list);
        let root = self.0.path().to_string_lossy().into_owned();
        let text = |path: &Path| path.to_string_lossy().replace(&root, "");
        (text(&options.bin_dir), text(&options.conf_dir), said)
    }
}

fn options(layout: Layout) -> CniOptions {
    CniOptions {
        layout,
        ..CniOptions::standard()
    }
}

fn folders(bin: &str, conf: &str) -> (String, String, Option<String>) {
    (bin.to_owned(), conf.to_owned(), None)
}

const K3S: [&str; 2] = [
    "/var/lib/rancher/k3s/data/cni",
    "/var/lib/rancher/k3s/agent/etc/cni/net.d",
];
const STANDARD: [&str; 2] = ["/opt/cni/bin", "/etc/cni/net.d"];

#[test]
fn the_folders_are_those_that_the_distributions_containerd_reads() {
    let k3s = folders(K3S[0], K3S[1]);
    let standard = folders(STANDARD[0], STANDARD[1]);
    for text in [V2, V3] {
        let host = Host::new().containerd("k3s", text);
        assert_eq!(host.settled(Layout::Auto, true), k3s);
        assert_eq!(host.settled(Layout::K3s, true), k3s);
        assert_eq!(host.settled(Layout::Standard, true), standard);
        assert_eq!(host.settled(Layout::Rke2, true), standard);
    }
    // With another network than its own, the distribution names none.
    let host = Host::new().containerd("rke2", WITHOUT);
    assert_eq!(host.settled(Layout::Auto, true), standard);
    assert_eq!(Host::new().settled(Layout::Auto, true), standard);
}

#[test]
fn those_of_k3s_are_known_without_its_containerd_too() {
    let host = Host::new();
    let old = folders("/var/lib/rancher/k3s/data/current/bin", K3S[1]);
    assert_eq!(host.settled(Layout::K3s, true), old);
    fs::create_dir_all(host.0.path().join("var/lib/rancher/k3s/data/cni")).expect("made");
    assert_eq!(host.settled(Layout::K3s, true), folders(K3S[0], K3S[1]));
}

#[test]
fn what_is_not_clear_is_left_to_the_operator() {
    let both = Host::new().containerd("k3s", V2).containerd("rke2", V3);
    let (bin, _, said) = both.settled(Layout::Auto, true);
    assert_eq!(bin, STANDARD[0]);
    assert!(said.is_some_and(|said| said.contains("--cni-layout")));

    let own = Host::new().containerd("k3s", V2);
    let conf = own.0.path().join(&K3S[1][1..]);
    fs::create_dir_all(&conf).expect("made");
    fs::write(conf.join("10-flannel.conflist"), "{}").expect("written");
    let (bin, _, said) = own.settled(Layout::Auto, true);
    assert_eq!(bin, STANDARD[0]);
    assert!(said.is_some_and(|said| said.contains("--flannel-backend=none")));
    // Plugins alone, as for Multus.
    assert_eq!(own.settled(Layout::Auto, false), folders(K3S[0], K3S[1]));
}

#[test]
fn a_folder_that_somebody_has_named_stays() {
    let host = Host::new().containerd("k3s", V2);
    let mut given = CniOptions {
        bin_dir: "/named".into(),
        named_bin: true,
        ..options(Layout::Auto)
    };
    assert_eq!(settle(&mut given, host.0.path(), true), None);
    assert_eq!(given.bin_dir, Path::new("/named"));
    assert!(given.conf_dir.ends_with("agent/etc/cni/net.d"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(?s).{0,80}") {
        let _ = of_section(&text, "bin_dir");
        let _ = of_section(&format!("[x.cni]\nbin_dir = {text}"), "bin_dir");
    }
}
