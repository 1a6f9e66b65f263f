use proptest::prelude::*;

use super::*;
use crate::config::cli;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn commands() -> Vec<String> {
    words("run docker-opts version leases")
}

fn rewritten(line: &str) -> String {
    rewrite(&words(line), &commands()).words.join(" ")
}

#[test]
fn one_dash_is_as_good_as_two() {
    for (line, expected) in [
        ("-etcd-prefix=/x", "--etcd-prefix=/x"),
        ("--etcd-prefix=/x", "--etcd-prefix=/x"),
        ("-ip-masq", "--ip-masq"),
        ("-v=4", "--v=4"),
        ("-log_backtrace_at=a.go:3", "--log_backtrace_at=a.go:3"),
        ("-help", "--help"),
        ("-version", "--version"),
        ("-h", "-h"),
    ] {
        assert_eq!(rewritten(line), expected, "{line}");
    }
}

#[test]
fn a_flag_takes_the_next_word_whatever_it_looks_like() {
    for (line, expected) in [
        ("-iface eth0 -ip-masq", "--iface=eth0 --ip-masq"),
        ("-iface -ip-masq", "--iface=-ip-masq"),
        ("--iface --", "--iface=--"),
        ("-v 4 -vmodule a=1", "--v=4 --vmodule=a=1"),
        (
            "-iface=a -iface b --iface=c",
            "--iface=a --iface=b --iface=c",
        ),
        ("-iface", "--iface"),
    ] {
        assert_eq!(rewritten(line), expected, "{line}");
    }
}

#[test]
fn a_switch_takes_its_value_after_an_equals_sign_only() {
    let line = rewrite(
        &words("--ip-masq=false -ip-masq false --iface eth1"),
        &commands(),
    );
    assert_eq!(line.words, words("--ip-masq=false --ip-masq"));
    assert_eq!(line.ignored, words("false --iface eth1"));
}

#[test]
fn reading_stops_at_the_first_word_that_is_no_flag() {
    for (line, ignored) in [
        ("-ip-masq one -iface two", "one -iface two"),
        ("-ip-masq -- -iface two", "-iface two"),
        ("-ip-masq - -iface two", "- -iface two"),
    ] {
        let line = rewrite(&words(line), &commands());
        assert_eq!(line.words, words("--ip-masq"));
        assert_eq!(line.ignored, words(ignored));
    }
}

#[test]
fn the_daemon_may_be_named_and_then_reads_its_flags_the_same_way() {
    assert_eq!(rewritten("run -iface eth0"), "run --iface=eth0");
}

#[test]
fn other_commands_keep_their_short_options() {
    assert_eq!(
        rewritten("docker-opts -ic -f file -k KEY"),
        "docker-opts -ic -f file -k KEY"
    );
    assert_eq!(
        rewritten("leases list -etcd-prefix /x -o json"),
        "leases list --etcd-prefix /x -o json"
    );
}

#[test]
fn a_mistyped_flag_gets_both_dashes_so_that_the_right_one_can_be_suggested() {
    assert_eq!(rewritten("-ifaec=eth0"), "--ifaec=eth0");
    assert_eq!(rewritten("-x"), "-x");
    assert_eq!(rewritten("---iface"), "---iface");
}

fn piece() -> impl Strategy<Value = String> {
    let names: Vec<&str> = flags::all().map(|flag| flag.name).collect();
    prop_oneof![
        ("-{0,3}", prop::sample::select(names), "(=.{0,6})?")
            .prop_map(|(dashes, name, value)| format!("{dashes}{name}{value}")),
        "[-=a-zé]{0,6}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn no_command_line_makes_the_parser_panic(words in prop::collection::vec(piece(), 0..8)) {
        let program = std::iter::once("tweedd".to_owned());
        let _ = cli::read(program.chain(words).map(Into::into));
    }

    #[test]
    fn no_word_gets_lost(words in prop::collection::vec("[-=a-z]{1,6}", 0..8)) {
        let line = rewrite(&words, &[]);
        let letters = |words: &[String]| -> String {
            let all = words.concat();
            all.chars().filter(char::is_ascii_alphabetic).collect()
        };
        let kept = letters(&line.words) + &letters(&line.ignored);
        prop_assert_eq!(kept, letters(&words));
    }
}
