//! The two forms of metrics as text: OpenMetrics, and Prometheus's own that is older. Prometheus asks for the first and
//! takes the second; tools that ask for nothing know the second alone.

use axum::body::Bytes;
use axum::http::{HeaderMap, header};

/// The metrics in both forms.
#[derive(Clone, Debug)]
pub struct Texts {
    open: Bytes,
    plain: Bytes,
}

/// How the samples are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.0.
    Open,
    /// Prometheus's text format 0.0.4.
    Plain,
}

impl Texts {
    /// Both, from the first.
    pub fn of(open: String) -> Self {
        Self {
            plain: plain(&open).into(),
            open: open.into(),
        }
    }

    /// One of them.
    pub fn get(&self, form: Form) -> Bytes {
        match form {
            Form::Open => self.open.clone(),
            Form::Plain => self.plain.clone(),
        }
    }
}

impl Form {
    /// What a request asks for; of several the one that it would rather have.
    pub fn asked_for(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).into_iter();
        let accepted = accepted.filter_map(|value| value.to_str().ok());
        let (mut open, mut plain) = (0.0, 0.0);
        for range in accepted.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let weight: f32 = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            match kind {
                "application/openmetrics-text" => open = weight.max(open),
                "text/plain" | "text/*" | "*/*" => plain = weight.max(plain),
                _ => {}
            }
        }
        match open > 0.0 && open >= plain {
            true => Self::Open,
            false => Self::Plain,
        }
    }

    /// How an answer names it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The same metrics in the older form: each family is named as its samples are, and there is no end.
fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let (ending, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            if let Some((_, words)) = help.take() {
                text += &format!("# HELP {name}{ending} {words}\n");
            }
            text += &format!("# TYPE {name}{ending} {kind}\n");
        } else if !line.starts_with("# ") {
            text += line;
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_named_as_its_samples_are() {
        let open = "# HELP a_seconds Times.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
            a_seconds_total{b=\"# TYPE c info\"} 1\n# HELP build What.\n# TYPE build info\nbuild_info{v=\"1\"} 1\n\
            # TYPE g gauge\ng 2\n# EOF\n";
        let wanted = "# HELP a_seconds_total Times.\n# TYPE a_seconds_total counter\n\
            a_seconds_total{b=\"# TYPE c info\"} 1\n# HELP build_info What.\n# TYPE build_info gauge\n\
            build_info{v=\"1\"} 1\n# TYPE g gauge\ng 2\n";
        assert_eq!(plain(open), wanted);
    }

    #[test]
    fn what_is_asked_for_is_answered() {
        let of_prometheus = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let plain_first = "text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.2";
        for (accept, wanted) in [
            (Some(of_prometheus), Form::Open),
            (Some("application/openmetrics-text"), Form::Open),
            (Some(plain_first), Form::Plain),
            (Some("application/openmetrics-text;q=0, */*"), Form::Plain),
            (Some("text/html, */*;q=0.8"), Form::Plain),
            (None, Form::Plain),
        ] {
            let accept = accept.map(|text| (header::ACCEPT, text.parse().expect("a value")));
            let headers: HeaderMap = accept.into_iter().collect();
            assert_eq!(Form::asked_for(&headers), wanted, "{headers:?}");
        }
    }
}
