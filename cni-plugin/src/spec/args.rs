//! `CNI_ARGS`: `K=V;K=V`.
//! More tolerant than Go's reader, which refuses values with `=`, a trailing `;` and keys that it doesn't know.

use std::fmt;

/// The pairs of `CNI_ARGS`, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pairs: Vec<(String, String)>,
}

/// A pair without `=`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ARGS: invalid pair {0:?} (want KEY=VALUE)")]
pub(crate) struct ArgsError(String);

impl Args {
    /// Reads the variable. Empty pairs are passed over.
    ///
    /// # Errors
    /// A pair without `=`.
    pub(crate) fn parse(text: &str) -> Result<Self, ArgsError> {
        let mut pairs = Vec::new();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| ArgsError(pair.to_owned()))?;
            pairs.push((key.to_owned(), value.to_owned()));
        }
        Ok(Self { pairs })
    }

    /// The pairs that another program has read.
    pub(crate) fn of_pairs(pairs: Vec<(String, String)>) -> Self {
        Self { pairs }
    }

    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The last value of a key; an empty one counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.pairs.iter().filter(|(k, _)| k == key);
        let (_, value) = values.next_back()?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }
}

/// As the variable has it.
impl fmt::Display for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        f.write_str(&pairs.join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_runtimes_send_is_read() {
        let args = Args::parse(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;IP=10.1.2.9;MAC=;",
        )
        .unwrap();
        assert_eq!(args.get("K8S_POD_NAME"), Some("web-0"));
        assert_eq!(args.get("IP"), Some("10.1.2.9"));
        assert_eq!(args.get("MAC"), None);
        assert_eq!(args.get("ip"), None, "keys are exact");
    }

    #[test]
    fn a_value_may_contain_an_equals_sign() {
        assert_eq!(Args::parse("A=b=c").unwrap().get("A"), Some("b=c"));
    }

    #[test]
    fn a_pair_without_equals_sign_is_refused_by_name() {
        let error = Args::parse("A=1;IP").unwrap_err();
        assert_eq!(
            error.to_string(),
            "ARGS: invalid pair \"IP\" (want KEY=VALUE)"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(?s).{0,80}") {
            let _ = Args::parse(&text);
        }
    }
}
