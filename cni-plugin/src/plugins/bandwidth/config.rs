//! The keys of `bandwidth`. Pure.

use serde::Deserialize;
use tweed_netlink::TokenBucket;

use crate::spec::{CniError, Kind, NetConf};

/// What the queue in front of a bucket may take to drain, beyond what the bucket holds, in microseconds.
const LATENCY: u64 = 25_000;

/// A burst that runtimes hand over where nobody has asked for one: the largest number that fits, in bits. With it a
/// container would send for seconds as fast as it can.
const PLACEHOLDER: u64 = i32::MAX as u64;

/// The burst in its place: what the rate gives in this part of a second, and not less than ten packets.
const BURST_PART: u64 = 20;
const SMALLEST_BURST: u64 = 15_000;

/// The limits of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BandwidthConfig {
    /// Of what the container receives.
    pub(super) ingress: Option<Limit>,
    /// Of what it sends.
    pub(super) egress: Option<Limit>,
}

/// How fast, and how much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// Bytes a second, at least 1.
    rate: u64,
    /// What may pass at once after a pause, in bytes.
    burst: u32,
}

/// The keys, which stand in the configuration itself or in `runtimeConfig.bandwidth`. Rates are bits a second, bursts
/// bits.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    ingress_rate: Option<u64>,
    ingress_burst: Option<u64>,
    egress_rate: Option<u64>,
    egress_burst: Option<u64>,
    shaped_subnets: Vec<String>,
    unshaped_subnets: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Runtime {
    runtime_config: Capabilities,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Capabilities {
    bandwidth: Option<Keys>,
}

impl BandwidthConfig {
    /// Reads and checks the keys. Any of them in the configuration itself goes before all of the runtime's.
    ///
    /// # Errors
    /// Names the key, and what is allowed.
    pub(super) fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let fixed: Keys = conf.read()?;
        let runtime: Runtime = conf.read()?;
        let (keys, is_fixed) = match runtime.runtime_config.bandwidth {
            Some(keys) if !fixed.is_given() => (keys, false),
            _ => (fixed, true),
        };
        for (key, subnets) in [
            ("shapedSubnets", &keys.shaped_subnets),
            ("unshapedSubnets", &keys.unshaped_subnets),
        ] {
            if !subnets.is_empty() {
                let msg = format!("{key} is not supported");
                return Err(CniError::new(Kind::UnsupportedField, msg).details(
                    "a token bucket limits all packets, as the reference does since its release 1.6; remove the key",
                ));
            }
        }
        let limit = |way, rate: Option<u64>, burst: Option<u64>| {
            let (rate, burst) = (rate.unwrap_or_default(), burst.unwrap_or_default());
            limit(way, rate, burst, is_fixed)
        };
        Ok(Self {
            ingress: limit("ingress", keys.ingress_rate, keys.ingress_burst)?,
            egress: limit("egress", keys.egress_rate, keys.egress_burst)?,
        })
    }

    pub(super) fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

impl Keys {
    fn is_given(&self) -> bool {
        let numbers = [
            self.ingress_rate,
            self.ingress_burst,
            self.egress_rate,
            self.egress_burst,
        ];
        let subnets = [&self.shaped_subnets, &self.unshaped_subnets];
        numbers.iter().any(Option::is_some) || subnets.iter().any(|list| !list.is_empty())
    }
}

fn limit(way: &str, rate: u64, burst: u64, is_fixed: bool) -> Result<Option<Limit>, CniError> {
    let wrong = |msg: &str| {
        let given = format!("{way}Rate is {rate}, {way}Burst is {burst}");
        Err(CniError::config(msg).details(given))
    };
    let bytes = u32::try_from(burst / 8).ok().filter(|b| *b < u32::MAX);
    let Some(burst_bytes) = bytes else {
        return wrong("burst cannot be more than 4GB");
    };
    match (rate, burst) {
        (0, 0) => return Ok(None),
        (_, 0) => return wrong("if rate is set, burst must also be set"),
        (0, _) => return wrong("if burst is set, rate must also be set"),
        (1..8, _) | (_, 1..8) => return wrong("rate and burst must be at least 8 bits"),
        _ => {}
    }
    let rate = rate / 8;
    let is_placeholder = !is_fixed && burst >= PLACEHOLDER;
    let capped = (rate / BURST_PART).max(SMALLEST_BURST);
    let burst = match u32::try_from(capped) {
        Ok(capped) if is_placeholder => burst_bytes.min(capped),
        _ => burst_bytes,
    };
    Ok(Some(Limit { rate, burst }))
}

impl Limit {
    /// The bucket, in the kernel's units and with the reference's rounding: its CHECK compares.
    pub(super) fn bucket(&self) -> TokenBucket {
        let (rate, burst) = (u128::from(self.rate), u128::from(self.burst));
        let microseconds = u32::try_from(burst * 1_000_000 / rate).unwrap_or(u32::MAX);
        // A tick is 64 ns.
        let ticks = u64::from(microseconds) * 125 / 8;
        let queue = rate * u128::from(LATENCY) / 1_000_000 + burst;
        TokenBucket {
            rate: self.rate,
            buffer: u32::try_from(ticks).unwrap_or(u32::MAX),
            limit: u32::try_from(queue).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::spec::Version;

    fn parse(keys: Value) -> Result<BandwidthConfig, String> {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "bandwidth"});
        for (key, value) in keys.as_object().unwrap() {
            conf[key] = value.clone();
        }
        NetConf::from_value(conf, Version::V0_3_0.and_newer())
            .and_then(|conf| BandwidthConfig::parse(&conf))
            .map_err(|error| error.to_string())
    }

    fn limit(rate: u64, burst: u32) -> Option<Limit> {
        Some(Limit { rate, burst })
    }

    #[test]
    fn keys_of_the_configuration_go_before_the_runtimes() {
        let runtime = json!({"bandWidth": {"ingressRate": 8000, "ingressBurst": 16_000}});
        let dynamic = parse(json!({"RuntimeConfig": runtime})).unwrap();
        assert_eq!(dynamic.ingress, limit(1000, 2000));
        let both = parse(json!({"runtimeConfig": runtime, "egressRate": 80, "egressBurst": 800}));
        let expected = BandwidthConfig {
            ingress: None,
            egress: limit(10, 100),
        };
        assert_eq!(both, Ok(expected));
        assert!(parse(json!({})).unwrap().is_unlimited());
        let zero = json!({"ingressRate": 0, "ingressBurst": 0});
        assert!(parse(zero).unwrap().is_unlimited());
    }

    #[test]
    fn a_burst_that_nobody_has_asked_for_does_not_let_the_first_second_run_free() {
        let with = |burst: u64| json!({"ingressRate": 80_000_000, "ingressBurst": burst});
        let ingress = |keys: Value| parse(keys).unwrap().ingress;
        for placeholder in [i32::MAX as u64, u32::MAX.into(), 34_359_738_352] {
            let runtime = json!({"runtimeConfig": {"bandwidth": with(placeholder)}});
            assert_eq!(
                ingress(runtime),
                limit(10_000_000, 500_000),
                "{placeholder}"
            );
        }
        let asked = json!({"runtimeConfig": {"bandwidth": with(800_000_000)}});
        assert_eq!(ingress(asked), limit(10_000_000, 100_000_000));
        assert_eq!(
            ingress(with(i32::MAX as u64)),
            limit(10_000_000, 268_435_455)
        );
    }

    #[test]
    fn what_makes_no_limit_is_refused_with_what_is_there() {
        for (rate, burst, text) in [
            (8000_u64, 0_u64, "if rate is set, burst must also be set"),
            (0, 8000, "if burst is set, rate must also be set"),
            (8000, 34_359_738_360, "burst cannot be more than 4GB"),
            (7, 8000, "at least 8 bits"),
        ] {
            for way in ["ingress", "egress"] {
                let keys = json!({format!("{way}Rate"): rate, format!("{way}Burst"): burst});
                let error = parse(keys).unwrap_err();
                assert!(error.contains(text), "{error}");
                assert!(error.contains(&format!("{way}Burst is {burst}")), "{error}");
            }
        }
        let below = json!({"ingressRate": 8000, "ingressBurst": 34_359_738_352_u64});
        assert!(parse(below).is_ok());
        let subnets = json!({"unshapedSubnets": ["10.0.0.0/8"]});
        assert!(parse(subnets).unwrap_err().contains("is not supported"));
    }

    /// What the reference's functions give for these.
    #[test]
    fn the_bucket_is_the_references() {
        let bucket = |rate, burst| Limit { rate, burst }.bucket();
        let of = |rate, buffer, limit| TokenBucket {
            rate,
            buffer,
            limit,
        };
        assert_eq!(bucket(1000, 2000), of(1000, 31_250_000, 2025));
        assert_eq!(
            bucket(10_000_000, 500_000),
            of(10_000_000, 781_250, 750_000)
        );
        assert_eq!(bucket(1, u32::MAX).buffer, u32::MAX);
        assert_eq!(bucket(u64::MAX, 1).limit, u32::MAX);
    }
}
