use super::*;

fn read_line(line: &str) -> Result<Invocation, clap::Error> {
    let words = ["tweedd"].into_iter().chain(line.split_whitespace());
    read(words.map(OsString::from))
}

fn flags_of(line: &str) -> Flags {
    match read_line(line).expect("understood").command {
        Command::Run(flags) => flags,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn without_a_command_it_is_the_daemon() {
    assert_eq!(flags_of(""), Flags::default());
    assert_eq!(
        flags_of("-ip-masq -iface eth0 -iface=eth1"),
        flags_of("run --ip-masq=true --iface=eth0 --iface=eth1")
    );
}

#[test]
fn the_command_of_flannels_manifest_is_understood_up_to_the_store_it_names() {
    let flags = flags_of("--ip-masq --kube-subnet-mgr --healthz-port=8081");
    assert_eq!(flags.0["kube-subnet-mgr"], ["true"]);
    assert_eq!(flags.0["healthz-port"], ["8081"]);
}

#[test]
fn an_unknown_flag_is_refused_with_a_suggestion() {
    let error = read_line("-ifcae=eth0").expect_err("refused");
    assert!(error.use_stderr());
    assert!(error.to_string().contains("--iface"), "{error}");
}

#[test]
fn flags_before_a_command_are_refused_rather_than_ignored() {
    let error = read_line("--log-level debug version").expect_err("refused");
    let text = error.to_string();
    assert!(text.contains("tweedd version --log-level=debug"), "{text}");
}

#[test]
fn words_that_flanneld_would_drop_are_dropped_and_reported() {
    let invocation = read_line("-ip-masq false").expect("understood");
    assert_eq!(invocation.ignored, ["false"]);
}

#[test]
fn help_and_version_are_no_errors() {
    for line in [
        "-h",
        "-help",
        "--help",
        "-version",
        "--version",
        "run -h",
        "help",
    ] {
        let error = read_line(line).expect_err("printed");
        assert!(!error.use_stderr(), "{line}: {error}");
    }
}

#[test]
fn a_word_that_is_no_utf_8_is_refused() {
    let word = std::os::unix::ffi::OsStringExt::from_vec(vec![b'-', 0xff]);
    let error = read(["tweedd".into(), word]).expect_err("refused");
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

/// The commands below one, named by their path.
fn leaves(command: &clap::Command, path: &str) -> Vec<(String, bool)> {
    let name = format!("{path} {}", command.get_name()).trim().to_owned();
    let mut below = command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
        .peekable();
    if below.peek().is_none() {
        let has = command.get_arguments().any(|arg| arg.get_id() == "output");
        return vec![(name, has)];
    }
    below.flat_map(|sub| leaves(sub, &name)).collect()
}

#[test]
fn every_command_with_a_result_has_an_output_format() {
    let mut command = Cli::command();
    command.build();
    let without: Vec<String> = leaves(&command, "")
        .into_iter()
        .filter(|(_, has)| !has)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        without,
        [
            "tweedd run",
            "tweedd connectivity serve",
            "tweedd completions"
        ]
    );
}
