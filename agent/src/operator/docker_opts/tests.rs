use std::process::Command as Process;

use clap::Parser;
use tweed_netlink::netns::isolated;

use crate::config::cli::{Cli, Command};

use super::*;

const ENV: &str = "FLANNEL_NETWORK=10.1.0.0/16
FLANNEL_SUBNET=10.1.74.1/24
FLANNEL_MTU=1472
FLANNEL_IPMASQ=false
";

fn args(line: &str) -> DockerOptsArgs {
    let words = ["tweedd", "docker-opts"].into_iter();
    let cli = Cli::try_parse_from(words.chain(line.split_whitespace())).expect("arguments");
    match cli.command {
        Some(Command::DockerOpts(args)) => args,
        other => panic!("{other:?}"),
    }
}

fn environment(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    entries.iter().map(owned).collect()
}

fn rendered(env: Option<&str>, line: &str, variables: &[(&str, &str)]) -> String {
    let options = options(env, &args(line), &environment(variables)).expect("options");
    render(&options)
}

#[test]
fn without_options_both_forms_are_written() {
    let expected = "DOCKER_OPT_BIP=\"--bip=10.1.74.1/24\"
DOCKER_OPT_IPMASQ=\"--ip-masq=true\"
DOCKER_OPT_MTU=\"--mtu=1472\"
DOCKER_OPTS=\" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472\"
";
    assert_eq!(rendered(Some(ENV), "", &[]), expected);
    assert_eq!(rendered(Some(ENV), "-ic", &[]), expected);
}

#[test]
fn i_writes_one_variable_an_option() {
    let expected = "DOCKER_OPT_BIP=\"--bip=10.1.74.1/24\"
DOCKER_OPT_IPMASQ=\"--ip-masq=true\"
DOCKER_OPT_MTU=\"--mtu=1472\"
";
    assert_eq!(rendered(Some(ENV), "-i", &[]), expected);
}

#[test]
fn c_writes_one_variable_with_all_options() {
    let expected = "DOCKER_OPTS=\" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472\"\n";
    assert_eq!(rendered(Some(ENV), "-c", &[]), expected);
}

#[test]
fn k_names_the_combined_variable() {
    let expected = "DOCKER_NETWORK_OPTIONS=\" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472\"\n";
    let line = "-c -k DOCKER_NETWORK_OPTIONS";
    assert_eq!(rendered(Some(ENV), line, &[]), expected);
}

#[test]
fn m_leaves_masquerading_out() {
    let expected = "DOCKER_OPTS=\" --bip=10.1.74.1/24 --mtu=1472\"\n";
    assert_eq!(rendered(Some(ENV), "-c -m", &[]), expected);
}

#[test]
fn docker_masquerades_exactly_when_the_agent_does_not() {
    let masquerading = ENV.replace("IPMASQ=false", "IPMASQ=true");
    let text = rendered(Some(&masquerading), "-i", &[]);
    assert!(
        text.contains("DOCKER_OPT_IPMASQ=\"--ip-masq=false\""),
        "{text}"
    );

    let broken = ENV.replace("IPMASQ=false", "IPMASQ=maybe");
    let error = options(Some(&broken), &args(""), &BTreeMap::new()).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "FLANNEL_IPMASQ is \"maybe\", not true or false"
    );
}

#[test]
fn what_the_environment_has_already_is_kept_in_front() {
    let variables = [
        ("DOCKER_OPTS", "--debug"),
        ("DOCKER_OPT_LOG", "--log-opt env=a b"),
    ];
    assert_eq!(
        rendered(Some(ENV), "-c", &variables),
        "DOCKER_OPTS=\"--debug  --bip=10.1.74.1/24 --ip-masq=true --log-opt env=a b --mtu=1472\"\n"
    );
}

#[test]
fn without_subnet_env_the_combined_variable_is_empty() {
    assert_eq!(rendered(None, "", &[]), "DOCKER_OPTS=\"\"\n");
}

#[test]
fn a_node_with_ipv6_alone_gets_no_bip() {
    let v6 = "FLANNEL_IPV6_SUBNET=fd00:1::1/64\nFLANNEL_MTU=1430\nFLANNEL_IPMASQ=true\n";
    let expected = "DOCKER_OPTS=\" --ip-masq=false --mtu=1430\"\n";
    assert_eq!(rendered(Some(v6), "-c", &[]), expected);
}

#[test]
fn the_file_is_replaced_whole_and_readable_for_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let (from, to) = (dir.path().join("subnet.env"), dir.path().join("docker.env"));
    std::fs::write(&from, ENV).expect("written");
    std::fs::write(&to, "DOCKER_OPTS=\"--old\"\n".repeat(50)).expect("written");
    let line = format!("-c -f {} -d {}", from.display(), to.display());
    docker_opts(&args(&line), &from).expect("written");
    assert_eq!(
        std::fs::read_to_string(&to).expect("readable"),
        "DOCKER_OPTS=\" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472\"\n"
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&to).expect("there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn nothing_is_written_while_the_subnet_is_routed_to_another_host() {
    let dir = tempfile::tempdir().expect("a folder");
    let (from, to) = (dir.path().join("subnet.env"), dir.path().join("docker.env"));
    std::fs::write(&from, ENV).expect("written");
    let args = args(&format!("-f {} -d {}", from.display(), to.display()));
    let ip = |line: &str| {
        let status = Process::new("ip").args(line.split_whitespace()).status();
        assert!(status.expect("ip runs").success(), "ip {line}");
    };
    isolated(|| {
        ip("link add near type veth peer name far");
        ip("addr add 192.0.2.1/24 dev near");
        ip("link set near up");
        ip("route add 10.1.74.0/24 via 192.0.2.7");
        let error = docker_opts(&args, &from).expect_err("refused").to_string();
        assert!(
            error.contains("sends 10.1.74.0/24, the subnet of this node, to 192.0.2.7"),
            "{error}"
        );
        assert!(!to.exists());
        // Another host's subnet beside ours is as it should be.
        ip("route del 10.1.74.0/24");
        ip("route add 10.1.75.0/24 via 192.0.2.7");
        docker_opts(&args, &from).expect("written");
        assert!(to.exists());
    });
}

#[test]
fn options_that_are_put_over_subnet_env_leave_the_agents_lines_in_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("subnet.env");
    std::fs::write(&file, ENV).expect("written");
    let args = args(&format!(
        "-c -k DOCKER_NETWORK_OPTIONS -d {}",
        file.display()
    ));
    let expected =
        format!("{ENV}DOCKER_NETWORK_OPTIONS=\" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472\"\n");
    // Again, as each start of the unit does it.
    for _ in 0..2 {
        docker_opts(&args, &file).expect("written");
        assert_eq!(std::fs::read_to_string(&file).expect("readable"), expected);
    }
    let link = dir.path().join("link.env");
    std::os::unix::fs::symlink(&file, &link).expect("linked");
    docker_opts(&args, &link).expect("written");
    assert_eq!(std::fs::read_to_string(&file).expect("readable"), expected);
}
