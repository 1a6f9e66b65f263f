//! The `ipam` object of `dhcp`: where the daemon listens, which options are asked for and sent.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use tweed_dhcp::message::{Options, code};
use tweed_dhcp::protocol::SOCKET;

use crate::spec::args::Args;
use crate::spec::{CniError, NetConf};

/// Options by name.
const NAMES: [(&str, u8); 6] = [
    ("dhcp-client-identifier", code::CLIENT_ID),
    ("host-name", code::HOST_NAME),
    ("routers", code::ROUTER),
    ("subnet-mask", code::SUBNET_MASK),
    ("user-class", code::USER_CLASS),
    ("vendor-class-identifier", code::VENDOR_CLASS),
];

/// What is asked for unless the configuration says otherwise. Go's plugin asks for the first two.
const DEFAULT: [u8; 4] = [
    code::SUBNET_MASK,
    code::ROUTER,
    code::NAME_SERVER,
    code::DOMAIN_NAME,
];

/// The longest value of an option, in bytes.
const LONGEST: usize = 255;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DhcpConfig {
    pub(crate) socket: PathBuf,
    /// Metric of the routes; 0 is unset.
    pub(crate) priority: u32,
    /// Numbers of the options to ask for.
    pub(crate) request: Vec<u8>,
    /// Options to send.
    pub(crate) provide: Options,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Outer {
    ipam: IpamConf,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct IpamConf {
    daemon_socket_path: String,
    priority: u32,
    request: Vec<RequestConf>,
    provide: Vec<ProvideConf>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RequestConf {
    skip_default: bool,
    option: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ProvideConf {
    option: String,
    value: String,
    from_arg: String,
}

impl DhcpConfig {
    /// Reads and validates the configuration, with the values of `CNI_ARGS` that it names.
    ///
    /// # Errors
    /// An option that there is not, or a value that is too long.
    pub(crate) fn parse(conf: &NetConf, args: &Args) -> Result<Self, CniError> {
        let ipam = conf.read::<Outer>()?.ipam;
        Ok(Self {
            socket: match ipam.daemon_socket_path.as_str() {
                "" => SOCKET.into(),
                path => path.into(),
            },
            priority: ipam.priority,
            request: request(&ipam.request)?,
            provide: provide(&ipam.provide, args)?,
        })
    }
}

/// The daemon's socket. Asks nothing else of the configuration, so that DEL works with a broken one.
pub(crate) fn socket(conf: &NetConf) -> PathBuf {
    let ipam = crate::spec::json::get(&conf.raw, "ipam");
    let path = ipam.and_then(|ipam| crate::spec::json::get_in(ipam, "daemonSocketPath"));
    let path = path.and_then(|path| path.as_str()).unwrap_or_default();
    if path.is_empty() { SOCKET } else { path }.into()
}

fn request(confs: &[RequestConf]) -> Result<Vec<u8>, CniError> {
    let mut codes = BTreeSet::new();
    if !confs.iter().any(|conf| conf.skip_default) {
        codes.extend(DEFAULT);
    }
    // An entry may be there for `skipDefault` alone.
    for conf in confs.iter().filter(|conf| !conf.option.is_empty()) {
        codes.insert(number(&conf.option)?);
    }
    Ok(codes.into_iter().collect())
}

/// A value of `CNI_ARGS` replaces the one that stands there.
fn provide(confs: &[ProvideConf], args: &Args) -> Result<Options, CniError> {
    let mut options = Options::new();
    for conf in confs {
        let code = number(&conf.option)?;
        let given = Some(conf.value.as_str()).filter(|value| !value.is_empty());
        let Some(value) = args.get(&conf.from_arg).or(given) else {
            continue;
        };
        if value.len() > LONGEST {
            let msg = format!("value too long for option {:?}: {value:?}", conf.option);
            return Err(CniError::config(msg).details(format!("want at most {LONGEST} bytes")));
        }
        options.insert(code, value.as_bytes().to_vec());
    }
    Ok(options)
}

/// What the daemon itself writes into every message is no option of the operator's.
fn number(option: &str) -> Result<u8, CniError> {
    let named = NAMES.iter().find(|(name, _)| *name == option);
    let number = named.map_or_else(|| option.parse().ok(), |(_, code)| Some(*code));
    let is_ours = |code: &u8| {
        matches!(
            *code,
            0 | 255 | code::OVERLOAD | code::KIND | code::SERVER | code::REQUEST_LIST
        )
    };
    number.filter(|code| !is_ours(code)).ok_or_else(|| {
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        CniError::config(format!("Can not parse option {option:?}")).details(format!(
            "option: want a number from 1 to 254, or one of {}",
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::spec::Version;

    fn read(ipam: &Value, args: &str) -> Result<DhcpConfig, String> {
        let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "x", "ipam": ipam});
        let conf = NetConf::from_value(conf, &Version::ALL).unwrap();
        let config = DhcpConfig::parse(&conf, &Args::parse(args).unwrap());
        config.map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_asked_for_by_name_and_number_with_or_without_the_default_ones() {
        let request = |request: Value| read(&json!({"request": request}), "").unwrap().request;
        assert_eq!(request(json!([])), [1, 3, 6, 15]);
        assert_eq!(request(json!([{"option": "121"}])), [1, 3, 6, 15, 121]);
        let skip = json!([{"skipDefault": true}, {"option": "subnet-mask"}]);
        assert_eq!(request(skip), [1]);
        for option in ["256", "router", "53", "0", "-1"] {
            let error = read(&json!({"request": [{"option": option}]}), "").unwrap_err();
            assert!(error.contains("Can not parse option"), "{option}: {error}");
        }
    }

    #[test]
    fn options_are_sent_with_their_value_or_that_of_an_argument() {
        let provide = json!({"provide": [
            {"option": "host-name", "fromArg": "K8S_POD_NAME", "value": "none"},
            {"option": "60", "value": "class"},
            {"option": "77", "fromArg": "NOT_THERE"},
        ]});
        let read_provide = |args: &str| read(&provide, args).unwrap().provide;
        let options = |name: &str| Options::from([(12, name.into()), (60, b"class".into())]);
        assert_eq!(read_provide(""), options("none"));
        assert_eq!(read_provide("K8S_POD_NAME=web-0"), options("web-0"));
        let long = json!({"provide": [{"option": "12", "value": "x".repeat(256)}]});
        let error = read(&long, "").unwrap_err();
        assert!(
            error.contains("value too long for option \"12\""),
            "{error}"
        );
    }
}
