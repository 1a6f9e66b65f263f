//! `Backend.TxChecksum`, from the text to what is wanted of the devices, and what is said of it.

use super::*;

fn wanted(backend: &str) -> Vec<(String, bool)> {
    let (state, _) = program(backend, Vec::new());
    state.tx_checksum.into_iter().collect()
}

#[test]
fn both_devices_get_what_is_said_and_auto_wants_nothing() {
    for backend in [
        r#"{"Type":"vxlan"}"#,
        r#"{"Type":"vxlan","TxChecksum":"auto"}"#,
        r#"{"Type":"udp"}"#,
    ] {
        assert_eq!(wanted(backend), [], "{backend}");
    }
    for (word, on) in [("on", true), ("off", false)] {
        let both = ["flannel-v6.7", "flannel.7"].map(|name| (name.to_owned(), on));
        let own = format!(r#"{{"Type":"vxlan","VNI":7,"TxChecksum":"{word}"}}"#);
        assert_eq!(wanted(&own), both);
        let accepted = format!(r#"{{"Type":"udp","Accept":[{own}]}}"#);
        assert_eq!(wanted(&accepted), both);
    }
}

#[test]
fn another_word_is_refused_with_those_there_are() {
    for value in [r#""Off""#, r#""""#, r#""of""#] {
        let text = format!(r#"{{"Type":"vxlan","TxChecksum":{value}}}"#);
        let refused = parse(&text).expect_err(value).to_string();
        let wanted = format!(
            "network configuration: Backend.TxChecksum is {value}; it must be one of auto, on, off"
        );
        assert_eq!(refused, wanted);
    }
    let accepted = r#"{"Type":"udp","Accept":[{"Type":"vxlan","TxChecksum":"no"}]}"#;
    let refused = parse(accepted).expect_err(accepted).to_string();
    assert!(
        refused.contains("Backend.Accept[0].TxChecksum"),
        "{refused}"
    );
}

#[test]
fn where_no_kernel_encapsulates_the_key_means_nothing_and_is_named() {
    for kind in ["udp", "host-gw", "alloc"] {
        let text = format!(r#"{{"Type":"{kind}","TxChecksum":"off"}}"#);
        let (backends, unknown) = Backends::parse(&config(&text)).unwrap();
        let mut choices = backends.all().filter_map(|backend| backend.tx_checksum);
        assert_eq!(choices.next(), None);
        assert_eq!(unknown.len(), 1, "{unknown:?}");
        assert!(unknown[0].contains("Backend.TxChecksum"), "{unknown:?}");
    }
}

#[test]
fn auto_says_on_which_kernels_it_may_be_wrong_and_what_to_try() {
    let auto = |kernel| TxChecksum::Auto.reason(kernel);
    for kernel in [(6, 12), (6, 18), (7, 0)] {
        let told = auto(kernel);
        let version = format!("Linux {}.{}", kernel.0, kernel.1);
        assert!(told.contains(&version), "{told}");
        assert!(
            told.contains(r#"set Backend.TxChecksum to "off""#),
            "{told}"
        );
    }
    for kernel in [(6, 11), (5, 15), (0, 0)] {
        assert_eq!(auto(kernel), "left as it is");
    }
    for choice in [TxChecksum::On, TxChecksum::Off] {
        assert_eq!(choice.reason((6, 18)), "as Backend.TxChecksum says");
    }
}
