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

fn help(command: &str, long: bool) -> String {
    let mut cli = Cli::command();
    cli.build();
    let command = cli.find_subcommand_mut(command).expect("a command");
    match long {
        false => command.render_help().to_string(),
        true => command.render_long_help().to_string(),
    }
}

#[test]
fn the_help_of_a_command_about_an_agent_shows_its_own_flags_and_those_that_name_an_agent() {
    for command in ["status", "plan", "confirm", "trace", "cleanup"] {
        for long in [false, true] {
            let text = help(command, long);
            assert!(text.contains("--instance <NAME>"), "{text}");
            assert!(!text.contains("--iface"), "{text}");
            assert!(text.contains("other flags of `tweedd run`"), "{text}");
            assert!(text.lines().count() < 90, "{text}");
        }
        assert!(help(command, false).lines().count() < 40);
    }
    let line = "status --peers --iface=eth0 --etcd-prefix=/x";
    let Command::Status { args, flags } = read_line(line).expect("understood").command else {
        panic!("not status");
    };
    assert!(args.peers);
    assert_eq!(flags.0.0["iface"], ["eth0"]);
    assert_eq!(flags.0.0["etcd-prefix"], ["/x"]);
}

#[test]
fn the_short_help_lists_the_commands_and_the_long_one_the_daemons_flags_too() {
    let (short, long) = (
        Cli::command().render_help().to_string(),
        Cli::command().render_long_help().to_string(),
    );
    assert!(short.lines().count() < 50, "{short}");
    let notes = short.split_once("Without a command").expect("notes").1;
    assert!(notes.lines().count() < 8, "{notes}");
    assert!(short.contains("install-cni") && !short.contains("--iface"));
    assert!(long.contains("install-cni") && long.contains("--iface"));
    let daemon = help("run", false);
    assert!(daemon.contains("--iface"), "{daemon}");
}

#[test]
fn the_help_of_status_explains_each_row_that_status_prints() {
    let text = help("status", true);
    let sources = [
        include_str!("../../operator/status/screen.rs"),
        include_str!("../../operator/status/trouble.rs"),
        include_str!("../../operator/status/data_plane.rs"),
    ];
    let source = sources.concat();
    let table = text.split_once("Rows, those").expect("a table").1;
    let table = table.split_once("Then the other").expect("its end").0;
    let rows = table.lines().skip(1).filter(|line| !line.trim().is_empty());
    for row in rows {
        assert_eq!(row.get(10..12), Some("  "), "wrapped: {row}");
    }
    let rows = source.split("row(").filter_map(|call| {
        let name = call.trim_start().strip_prefix("f,")?.trim_start();
        Some(name.strip_prefix('"')?.split_once('"')?.0)
    });
    let rows: std::collections::BTreeSet<&str> = rows.filter(|name| !name.is_empty()).collect();
    assert!(rows.len() > 15, "the rows are not found: {rows:?}");
    for row in rows {
        assert!(
            text.contains(&format!("\n  {row:<8}")),
            "{row} is not in {text}"
        );
    }
}

#[test]
fn a_word_of_another_programs_is_refused_with_the_command_that_is_meant() {
    for (line, meant) in [
        ("peers", "tweedd status --peers"),
        ("restart", "systemctl restart tweedd"),
        ("status --json", "-o json"),
        ("plan --apply", "systemctl start tweedd"),
        ("uninstall", "tweedd cleanup"),
        ("--network=10.244.0.0/16", "tweedd config set"),
        ("-backend vxlan", "tweedd config set"),
        // clap's own.
        ("lease list", "'leases'"),
    ] {
        let error = read_line(line).expect_err("refused");
        assert!(error.use_stderr(), "{line}");
        assert!(error.to_string().contains(meant), "{line}: {error}");
    }
}

#[test]
fn status_is_watched_every_two_seconds_or_as_said() {
    for (line, expected) in [
        ("status", None),
        ("status --watch", Some(2)),
        ("status --watch 5 --peers", Some(5)),
        ("status --watch=7", Some(7)),
    ] {
        let Command::Status { args, .. } = read_line(line).expect("understood").command else {
            panic!("{line}");
        };
        assert_eq!(args.watch, expected, "{line}");
    }
    read_line("status --watch 0").expect_err("never the same moment");
}
