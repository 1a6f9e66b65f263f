//! Variables that look like ours and set nothing: misspelt ones, with the one that may be meant.

use tweed_model::{nearest, shown};

use super::flag::Flag;
use super::lookup::all;

/// What there is to say about each of these names.
pub fn unknown(names: impl IntoIterator<Item = String>) -> Vec<(String, String)> {
    let known: Vec<String> = all().flat_map(Flag::variables).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    names
        .into_iter()
        .filter(|name| name.starts_with("TWEED_") || name.starts_with("FLANNELD_"))
        .filter(|name| !known.contains(&name.as_str()) && !is_of_a_service(name))
        .map(|name| {
            let text = match meant(&name, &known) {
                Some(meant) => format!("sets nothing; is {meant} meant?"),
                None => "sets nothing: there is no flag of that name".to_owned(),
            };
            (format!("environment variable {}", shown(&name)), text)
        })
        .collect()
}

fn meant<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // Our own flags have no variable with flannel's prefix.
    let ours = name.replacen("FLANNELD_", "TWEED_", 1);
    let exactly = known.iter().find(|known| **known == ours).copied();
    exactly.or_else(|| nearest(name, known.iter().copied()))
}

/// Kubernetes gives pods variables about each Service, also about one that is called `tweed`.
fn is_of_a_service(name: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let ends = |tail: &[&str]| words.ends_with(tail);
    let port = words.iter().position(|word| *word == "PORT");
    ends(&["SERVICE", "HOST"])
        || name.contains("_SERVICE_PORT")
        || port.is_some_and(|at| match words.get(at + 1..) {
            Some([]) => at == 1,
            Some([number, ..]) => number.bytes().all(|byte| byte.is_ascii_digit()),
            None => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str) -> Option<String> {
        let mut said = unknown([name.to_owned()]);
        said.pop().map(|(source, text)| format!("{source} {text}"))
    }

    #[test]
    fn a_misspelt_variable_is_named_with_the_one_that_is_meant() {
        for (name, meant) in [
            ("TWEED_IFCE", "TWEED_IFACE"),
            ("FLANNELD_IP_MASK", "FLANNELD_IP_MASQ"),
            ("TWEED_ETCD_ENDPOINT", "TWEED_ETCD_ENDPOINTS"),
            ("FLANNELD_STORE_DIR", "TWEED_STORE_DIR"),
            ("TWEED_KUBECONFIG", "sets nothing"),
        ] {
            let said = said(name).expect("something");
            assert!(said.contains(name) && said.contains(meant), "{said}");
        }
    }

    #[test]
    fn variables_that_set_something_and_those_of_services_are_not_remarked_upon() {
        for name in [
            "TWEED_IFACE",
            "FLANNELD_IFACE",
            "PATH",
            "TWEED_SERVICE_HOST",
            "TWEED_SERVICE_PORT_METRICS",
            "TWEED_PORT",
            "TWEED_PORT_8081_TCP_ADDR",
        ] {
            assert_eq!(said(name), None);
        }
    }
}
