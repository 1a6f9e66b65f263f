//! The documents say what the code does: flag by flag, variable by variable.

mod blocks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::config::flags::flag::Origin;
use crate::config::flags::*;

fn document(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The rows of all tables whose first cell is a flag, by flag.
fn rows(text: &str) -> BTreeMap<String, Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        // A bar within a cell is escaped.
        let inner = inner.replace("\\|", "\0");
        inner
            .split('|')
            .map(|cell| cell.trim().replace('\0', "|"))
            .collect()
    };
    text.lines()
        .filter(|line| line.starts_with("| `--"))
        .map(cells)
        .map(|mut cells| {
            let flag = cells
                .remove(0)
                .trim_matches('`')
                .trim_start_matches("--")
                .to_owned();
            (flag, cells)
        })
        .collect()
}

fn code(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!("`{text}`"),
    }
}

#[test]
fn the_configuration_reference_lists_exactly_the_flags_there_are() {
    let text = document("docs/CONFIGURATION.md");
    let documented = rows(&text);
    let names: BTreeSet<&str> = documented.keys().map(String::as_str).collect();
    assert_eq!(names, all().map(|flag| flag.name).collect());
    for group in GROUPS {
        assert!(
            text.contains(&format!("### {}\n", group.heading)),
            "{} is missing",
            group.heading
        );
    }
    for flag in all() {
        let value = match flag.takes {
            Takes::Switch => "switch",
            Takes::One(name) | Takes::Many(name) => name,
        };
        let mut help = flag.help.to_owned();
        if let Some(reason) = flag.inert {
            help += &format!(". **No effect**: {reason}");
        }
        let expected = [code(value), code(flag.default), help];
        assert_eq!(documented[flag.name], expected, "--{}", flag.name);
    }
}

#[test]
fn the_compatibility_table_has_every_flag_and_variable_of_flannels() {
    let text = document("docs/COMPATIBILITY.md");
    let documented = rows(&text);
    let names: BTreeSet<&str> = documented.keys().map(String::as_str).collect();
    let flannels = all()
        .filter(|flag| flag.origin == Origin::Flannel)
        .map(|flag| flag.name);
    assert_eq!(names, flannels.chain(["version"]).collect());
    for flag in all().filter(|flag| flag.origin == Origin::Flannel) {
        let effect = documented[flag.name].last().expect("an effect");
        assert_eq!(
            effect.starts_with("none"),
            flag.inert.is_some(),
            "--{}: {effect}",
            flag.name
        );
    }
    for variable in [
        "NODE_NAME",
        "POD_NAME",
        "POD_NAMESPACE",
        "EVENT_QUEUE_DEPTH",
        "CONT_WHEN_CACHE_NOT_READY",
        "WIREGUARD_KEY_FILE",
        "NOTIFY_SOCKET",
        "KUBERNETES_SERVICE_HOST",
        "TMPDIR",
    ] {
        assert!(
            text.contains(&format!("`{variable}`")),
            "{variable} is missing"
        );
    }
}

/// Every word that looks like one of our variables.
fn variables(text: &str) -> BTreeSet<&str> {
    let part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.split(|c: char| !part(c))
        .filter(|word| word.starts_with("TWEED_") || word.starts_with("FLANNELD_"))
        .filter(|word| !matches!(*word, "TWEED_" | "FLANNELD_"))
        .collect()
}

#[test]
fn every_variable_in_documents_and_units_exists() {
    // By this one plugins count how deep they call each other.
    let plugins = ["TWEED_CNI_DEPTH".to_owned()];
    let known: BTreeSet<String> = all().flat_map(Flag::variables).chain(plugins).collect();
    for path in [
        "docs/CONFIGURATION.md",
        "docs/COMPATIBILITY.md",
        "manifests/systemd/tweedd.env",
        "manifests/systemd/tweedd.service",
    ] {
        let text = document(path);
        for variable in variables(&text) {
            assert!(
                known.contains(variable),
                "{path} names {variable}, which nothing reads"
            );
        }
    }
    assert!(variables(&document("manifests/systemd/tweedd.env")).len() > 10);
}

#[test]
fn the_sample_environment_is_understood() {
    use crate::config::options::Options;
    use crate::config::settings::Settings;

    let text = document("manifests/systemd/tweedd.env");
    // Samples that name a file of the host or another store are tried for their names only.
    let map: BTreeMap<&str, &str> = text
        .lines()
        .map(|line| line.trim_start_matches('#'))
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.starts_with("TWEED_") && !name.ends_with("_PASSWORD_FILE"))
        .collect();
    let environment = |name: &str| map.get(name).map(|value| (*value).to_owned());
    let flags = Flags::default();
    let options = Options::read(&Settings::new(&flags, &environment)).expect("options");
    assert!(options.firewall.ip_masq);
}

/// What stands between backticks in the first cells of the rows, without the flags.
fn first_cells(section: &str) -> BTreeSet<String> {
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let first = rows.filter_map(|line| line.split('|').nth(1));
    first
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned))
        .collect()
}

#[test]
fn the_reference_lists_the_keys_and_backends_of_the_network_configuration() {
    use tweed_backend::Backends;
    use tweed_model::NetworkConfig;

    let text = document("docs/CONFIGURATION.md");
    let (_, section) = text
        .split_once("## Network configuration")
        .expect("the section");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let (keys, backends) = section
        .split_once("| backend |")
        .expect("a table of backends");
    let (backends, _) = backends.split_once("\n\n").expect("the table's end");
    let full = serde_json::json!({
        "Network": "10.5.0.0/16", "SubnetLen": 24, "SubnetMin": "10.5.1.0", "SubnetMax": "10.5.9.0",
        "IPv6Network": "fd00:5::/48", "IPv6SubnetLen": 64, "IPv6SubnetMin": "fd00:5:0:1::",
        "IPv6SubnetMax": "fd00:5:0:9::", "EnableIPv4": true, "EnableIPv6": true, "EnableNFTables": true,
        "Backend": { "Type": "vxlan", "VNI": 1, "Port": 8472, "MTU": 1500, "GBP": false, "Learning": false,
            "DirectRouting": false, "Accept": [{ "Type": "udp" }] },
    });
    let (config, unknown) = NetworkConfig::parse(&full.to_string()).expect("a configuration");
    assert_eq!(unknown, [""; 0]);
    let known: BTreeSet<String> = full
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    assert_eq!(first_cells(keys), known);

    let (_, unknown) = Backends::parse(&config).expect("a backend");
    assert_eq!(unknown, [""; 0]);
    for key in full["Backend"]
        .as_object()
        .expect("an object")
        .keys()
        .filter(|key| *key != "Type")
    {
        assert!(backends.contains(&format!("`{key}`")), "{key} is missing");
    }
    for name in first_cells(backends) {
        let text = format!(r#"{{"Network":"10.5.0.0/16","Backend":{{"Type":"{name}"}}}}"#);
        let (config, _) = NetworkConfig::parse(&text).expect("a configuration");
        Backends::parse(&config).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    // The refusal of an unknown backend names those there are; all of them are documented.
    let text = r#"{"Network":"10.5.0.0/16","Backend":{"Type":"pigeon"}}"#;
    let (config, _) = NetworkConfig::parse(text).expect("a configuration");
    let refusal = Backends::parse(&config).expect_err("refused").to_string();
    for name in first_cells(backends) {
        assert!(refusal.contains(&name), "{refusal}");
    }
}
