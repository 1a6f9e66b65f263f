use super::*;

fn summary(text: &str) -> anyhow::Result<Summary> {
    summary_for(Subnets::Leased, text, &[])
}

fn words(text: &str) -> String {
    summary(text).expect("a configuration").words()
}

#[test]
fn a_configuration_is_summed_up_with_what_it_comes_to() {
    assert_eq!(
        words(r#"{"Network":"10.3.0.0/16","Backend":{"Type":"vxlan"}}"#),
        "backend vxlan\nnetwork 10.3.0.0/16: 255 subnets of /24, from 10.3.1.0 to 10.3.255.0\n"
    );
}

#[test]
fn a_large_ipv6_network_has_as_many_subnets_as_can_be_counted() {
    let text = words(
        r#"{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/16","IPv6SubnetLen":126,"Backend":{"Type":"vxlan"}}"#,
    );
    assert!(
        text.contains("18446744073709551615 subnets of /126"),
        "{text}"
    );
}

#[test]
fn keys_that_mean_nothing_are_named() {
    let text =
        words(r#"{"Network":"10.3.0.0/16","Netwrok":"x","Backend":{"Type":"vxlan","Prot":1}}"#);
    assert!(
        text.contains("unknown key Netwrok (Network?), ignored"),
        "{text}"
    );
    assert!(
        text.contains("unknown key Backend.Prot (Port?), ignored"),
        "{text}"
    );
    let text = words(r#"{"Network":"10.3.0.0/16","Backend":{"Type":"vxlan","TxCheckSum":"off"}}"#);
    assert!(!text.contains("unknown"), "{text}");
    let text = words(r#"{"Network":"10.3.0.0/16","Backend":{"Type":"vxlan","TxCheksum":"off"}}"#);
    assert!(
        text.contains("unknown key Backend.TxCheksum (TxChecksum?), ignored"),
        "{text}"
    );
}

#[test]
fn a_wrong_configuration_is_refused_with_key_value_and_what_is_allowed() {
    let refused = |text: &str| summary(text).expect_err("refused").to_string();
    let text = refused(r#"{"Network":"10.3.0.0/16","SubnetLen":40,"Backend":{"Type":"vxlan"}}"#);
    assert!(text.contains("SubnetLen") && text.contains("40"), "{text}");
    for (value, said) in [("false", "want"), (r#""of""#, "auto, on, off")] {
        let backend = format!(r#"{{"Type":"vxlan","TxChecksum":{value}}}"#);
        let text = refused(&format!(
            r#"{{"Network":"10.3.0.0/16","Backend":{backend}}}"#
        ));
        assert!(text.contains("Backend.TxChecksum"), "{text}");
        assert!(text.contains(said), "{text}");
    }
    let text = refused(r#"{"Network":"10.3.0.0/16","Backend":{"Type":"carrier-pigeon"}}"#);
    assert!(
        text.contains("carrier-pigeon") && text.contains("vxlan"),
        "{text}"
    );
}

#[test]
fn what_a_configuration_may_not_be_meant_to_mean_is_said() {
    let text = words(r#"{"Network":"10.3.0.0/16","IPv6Network":"fd00::/48"}"#);
    for part in ["note: there is no Backend", "note: IPv6Network is set"] {
        assert!(text.contains(part), "{text}");
    }
}
