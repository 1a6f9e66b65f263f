//! What the command is told, what it refuses, and how it ends.

use super::*;

#[test]
fn names_that_no_runtime_looks_for_are_refused() {
    let host = Host::new();
    for name in [
        "../x.conflist",
        "",
        "10-x",
        "10-x.conf",
        "10-x.json",
        "a/b.conflist",
    ] {
        let refusal = host.refusal(&[&format!("--conf-name={name}")]);
        assert!(
            refusal.contains("is not a file name that ends in .conflist"),
            "{refusal}"
        );
    }
    for name in ["a/b", "..", "foo", "tweed"] {
        let refusal = host.refusal(&[&format!("--links=bridge {name}")]);
        let words = format!("answers to no {name:?}, but to flannel, bridge");
        assert!(refusal.contains(&words), "{refusal}");
    }
    assert!(!host.bin("tweed").exists());
}

#[test]
fn links_may_have_commas_or_blanks_between_them() {
    for words in [
        "--links=bridge loopback",
        "--links=bridge,loopback",
        "--links= bridge, loopback ",
    ] {
        let host = Host::new();
        let report = host.install(&["--skip-conf", words]);
        let names: Vec<String> = outcomes(&report)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["tweed", "bridge", "loopback"], "{words}");
    }
}

#[test]
fn flags_and_variables_are_the_agents() {
    let host = Host::new();
    let conf_dir = host.dir.path().join("other");
    // Without the flags that tests give, as these come before the environment.
    let words = [
        "tweedd".to_owned(),
        "install-cni".to_owned(),
        format!("--plugin={}", host.dir.path().join("plugin").display()),
        format!("--cni-bin-dir={}", host.bin("").display()),
    ];
    let Some(Command::InstallCni(args)) = Cli::try_parse_from(words).expect("arguments").command
    else {
        panic!("another command");
    };
    let environment = |name: &str| match name {
        "TWEED_CNI_CONF_DIR" => Some(conf_dir.to_string_lossy().into_owned()),
        "TWEED_CNI_CONF_NAME" => Some("05-x.conflist".to_owned()),
        // Empty is unset, as for the agent.
        "TWEED_CNI_CONF" => Some(String::new()),
        _ => None,
    };
    install(&args, &Settings::new(&args.places.0, &environment)).expect("installed");
    assert!(conf_dir.join("05-x.conflist").exists() && host.bin("bridge").exists());
}

#[test]
fn a_list_that_runtimes_do_not_use_is_told_apart_by_the_exit_code() {
    let host = Host::new();
    assert!(!host.install(&[]).list_not_in_use);
    fs::remove_file(host.bin("bridge")).expect("removed");
    write(&host.bin("bridge"), "Go's bridge");
    assert!(!host.install(&[]).list_not_in_use, "a link is not the list");
    write(&host.conf("05-cilium.conflist"), "{}");
    assert!(host.install(&[]).list_not_in_use, "another sorts first");
    assert!(!host.install(&["--skip-conf"]).list_not_in_use);
    fs::remove_file(host.conf("05-cilium.conflist")).expect("removed");
    write(&host.conf("10-flannel.conflist"), "edited");
    assert!(host.install(&[]).list_not_in_use, "somebody's was kept");
    assert!(!host.install(&["--force"]).list_not_in_use);
}

#[test]
fn a_list_with_plugins_that_are_not_there_is_refused_and_they_are_named() {
    let host = Host::new();
    let file = host.dir.path().join("given");
    let given = format!("--conf={}", file.display());
    write(
        &file,
        r#"{"name":"x","plugins":[
            {"type":"flannel","delegate":{"type":"sriov"},"ipam":{"type":"host-local"}},
            {"type":"cilium-cni"},{"type":"tweed","ipam":{"type":"whereabouts"}}]}"#,
    );
    let refusal = host.refusal(&[&given]);
    assert!(
        refusal.contains(": sriov, cilium-cni, whereabouts; no pod starts without them"),
        "{refusal}"
    );
    assert!(!host.bin("tweed").exists());
    for name in ["sriov", "cilium-cni", "whereabouts"] {
        write(&host.bin(name), "somebody's");
    }
    host.install(&[&given]);
    write(&file, r#"{"name":"x","plugins":[{"type":"sbr"}]}"#);
    host.install(&[&given, "--force"]);
    // What is not linked is missing, too.
    write(&file, r#"{"name":"x","plugins":[{"type":"portmap"}]}"#);
    let other = Host::new();
    let refusal = other.refusal(&[&given, "--links=flannel"]);
    assert!(refusal.contains(": portmap; no pod starts"), "{refusal}");
}
