//! No test is left out: one that is ignored names the tier that runs it, and stands where that tier finds it.
#![allow(clippy::unwrap_used, reason = "a test fails where it fails")]

use std::fs;

use tweed_house::{packages, root, rust_files};

/// How the reason of such a test begins and ends.
const BEGIN: &str = "#[ignore = \"needs a kernel with ";
const END: &str = ": the guest tier runs it\"]";

/// The lines that ignore a test in another way.
fn wrong(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let attributes = lines.filter(|line| line.starts_with("#["));
    let ignores =
        attributes.filter(|line| line.starts_with("#[ignore") || line.contains(", ignore"));
    let wrong = ignores.filter(|line| !(line.starts_with(BEGIN) && line.ends_with(END)));
    wrong.map(str::to_owned).collect()
}

#[test]
fn an_ignored_test_names_the_guest_tier_and_what_it_needs() {
    for package in packages() {
        // Scenarios need servers that the guest doesn't have.
        let is_scenario = package.starts_with("e2e");
        for file in ["src", "tests"]
            .iter()
            .flat_map(|part| rust_files(&root().join(&package).join(part)))
        {
            if file.ends_with("house/tests/ignored.rs") || file.ends_with("guest/programs.rs") {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let wrong = wrong(&text);
            assert!(
                wrong.is_empty(),
                "{}: {wrong:?}: {BEGIN}…{END}",
                file.display()
            );
            let ignores = text
                .lines()
                .any(|line| line.trim_start().starts_with(BEGIN));
            assert!(
                !(is_scenario && ignores),
                "{}: no tier runs it",
                file.display()
            );
        }
    }
}

#[test]
fn every_other_way_to_ignore_a_test_is_found() {
    let good = format!("    {BEGIN}VLAN filtering{END}\n    fn a() {{}}");
    assert!(wrong(&good).is_empty());
    for bad in [
        "#[ignore]",
        "#[ignore = \"slow\"]",
        "#[cfg_attr(vlan, ignore)]",
    ] {
        assert_eq!(wrong(bad), [bad]);
    }
}
