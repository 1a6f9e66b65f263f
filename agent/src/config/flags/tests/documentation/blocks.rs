//! What stands in the documents as settings or as a network configuration is read by the code that reads it on a host.

use std::collections::BTreeMap;
use std::path::Path;

use tweed_backend::Backends;
use tweed_model::NetworkConfig;

use super::document;
use crate::config::environment_file;
use crate::config::flags::Flags;
use crate::config::options::Options;
use crate::config::settings::Settings;

/// The blocks that are marked as run by this test, with their documents.
fn blocks(test: &str) -> Vec<(String, String)> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let names = std::fs::read_dir(docs)
        .expect("the documents")
        .map(|entry| {
            let name = entry.expect("an entry").file_name();
            format!("docs/{}", name.to_string_lossy())
        });
    let marker = format!("<!-- run by: {test} -->");
    let mut found = Vec::new();
    for name in names
        .chain(["README.md".to_owned()])
        .filter(|name| name.ends_with(".md"))
    {
        let text = document(&name);
        for (_, rest) in text
            .match_indices(&marker)
            .map(|(at, _)| text[at..].split_at(marker.len()))
        {
            let mut lines = rest.lines().skip(1);
            assert!(
                lines.next().is_some_and(|line| line.starts_with("```")),
                "{name}"
            );
            let block: Vec<&str> = lines.take_while(|line| !line.starts_with("```")).collect();
            found.push((name.clone(), block.join("\n")));
        }
    }
    found
}

#[test]
fn every_environment_file_of_the_documents_is_read() {
    let found = blocks("every_environment_file_of_the_documents_is_read");
    assert!(found.len() >= 3, "{found:?}");
    for (name, text) in found {
        let mut variables = environment_file::parse(&text);
        assert!(!variables.is_empty(), "{name}: {text}");
        for (variable, value) in &variables {
            let flag = crate::config::flags::all().find(|flag| flag.variables().contains(variable));
            assert!(flag.is_some(), "{name}: nothing reads {variable}");
            // systemd makes a comment behind a value a part of it.
            assert!(
                !value.contains(['#', ' ']),
                "{name}: {variable} is {value:?}"
            );
        }
        // It names a file of the host, which is read at once.
        variables.remove("TWEED_ETCD_PASSWORD_FILE");
        let environment = |name: &str| variables.get(name).cloned();
        let flags = Flags(BTreeMap::new());
        let options = Options::read(&Settings::new(&flags, &environment));
        options.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn every_network_configuration_of_the_documents_is_understood() {
    let found = blocks("every_network_configuration_of_the_documents_is_understood");
    assert!(found.len() >= 2, "{found:?}");
    for (name, text) in found {
        let understood = NetworkConfig::parse(&text).and_then(|(config, unknown)| {
            assert_eq!(unknown, [""; 0], "{name}");
            Backends::parse(&config)
        });
        let (_, unknown) = understood.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(unknown, [""; 0], "{name}");
    }
}
