//! What is left for pods.

use super::*;

#[test]
fn pods_get_50_bytes_less_and_70_with_ipv6() {
    let vxlan = parse(r#"{"Type":"vxlan"}"#).unwrap();
    let v4 = Dual {
        v4: Some(()),
        v6: None::<()>,
    };
    assert_eq!(vxlan.mtu(1500, &v4), Ok(1450));
    assert_eq!(
        vxlan.mtu(
            1500,
            &Dual {
                v4: Some(()),
                v6: Some(())
            }
        ),
        Ok(1430)
    );
    assert_eq!(
        parse(r#"{"Type":"vxlan","MTU":1400}"#)
            .unwrap()
            .mtu(1500, &v4),
        Ok(1350)
    );
    assert_eq!(
        parse(r#"{"Type":"host-gw"}"#).unwrap().mtu(1500, &v4),
        Ok(1500)
    );
    let error = vxlan
        .mtu(
            1300,
            &Dual {
                v4: Some(()),
                v6: Some(()),
            },
        )
        .unwrap_err()
        .to_string();
    assert!(error.contains("1230") && error.contains("1280"), "{error}");
}

#[test]
fn what_is_advised_against_too_small_an_mtu_would_help() {
    let advice = |options: &str, uplink| {
        let config = config(&format!(r#"{{"Type":"vxlan"{options}}}"#));
        let (backends, _) = Backends::parse(&config).unwrap();
        let error = backends.mtu(uplink, &config.pools).unwrap_err().0;
        let (_, advice) = error.split_once("; ").unwrap();
        advice
            .strip_suffix(", or set EnableIPv6 to false: IPv4 needs less")
            .expect(advice)
            .to_owned()
    };
    assert_eq!(advice("", 1280), "raise the uplink's MTU to 1350");
    let limit = "raise Backend.MTU to 1350, or leave it out";
    assert_eq!(advice(r#","MTU":1300"#, 1500), limit);
    let both = format!("raise the uplink's MTU to 1350, and {limit}");
    assert_eq!(advice(r#","MTU":1290"#, 1300), both);
    assert_eq!(
        advice(r#","MTU":1400"#, 1300),
        "raise the uplink's MTU to 1350"
    );
    assert!(
        parse(r#"{"Type":"vxlan"}"#)
            .unwrap()
            .mtu(1350, &config(r#"{"Type":"vxlan"}"#).pools)
            .is_ok()
    );
}

#[test]
fn an_mtu_above_the_uplinks_is_cut_to_it() {
    let v4 = Dual {
        v4: Some(()),
        v6: None,
    };
    let jumbo = r#"{"Type":"vxlan","MTU":9000}"#;
    assert_eq!(parse(jumbo).unwrap().mtu(1500, &v4), Ok(1450));
    assert_eq!(program(jumbo, vec![]).0.links["flannel.1"].mtu, 1450);
}
