//! What is logged, and how.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::flags;
use crate::config::go_values;
use crate::config::settings::{Settings, UsageError};

/// How the log targets of all our crates begin; those of libraries begin otherwise.
const OURS: &str = "tweed";

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Level, or directives by module.
    pub filter: String,
    /// Text or JSON.
    pub format: LogFormat,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogOptions {
    /// Reads the flags about logs.
    ///
    /// # Errors
    /// If one of them is unusable.
    pub fn read(settings: &Settings<'_>) -> Result<Self, UsageError> {
        let level = settings.required(
            &flags::LOG_LEVEL,
            "error, warn, info, debug, trace, or directives such as info,tweed_store=debug",
            |text| directives(text).then(|| text.to_owned()),
        )?;
        let verbosity = settings.required(&flags::V, "an integer", go_values::integer)?;
        let level = match (settings.given(&flags::LOG_LEVEL), verbosity) {
            (None, 6..) => "trace".to_owned(),
            (None, 1..) => "debug".to_owned(),
            _ => level,
        };
        let filter = of_our_modules(level);
        let format = settings.required(&flags::LOG_FORMAT, "text or json", |text| match text {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        })?;
        Ok(Self { filter, format })
    }
}

/// Below info, a level by itself speaks of our own modules. The HTTP/2 library alone logs each frame at debug, which
/// would bury what an operator who came with flannel's `-v=4` wants to see.
fn of_our_modules(level: String) -> String {
    match level.parse::<LevelFilter>() {
        Ok(fine) if fine > LevelFilter::INFO => {
            format!("info,{OURS}={fine}")
        }
        _ => level,
    }
}

/// Whether the text is a list of levels and `module=level`. The subscriber would take a mistyped level for a module.
fn directives(text: &str) -> bool {
    let levels = text.split(',').all(|directive| {
        let level = directive.rsplit('=').next().unwrap_or_default();
        level.parse::<LevelFilter>().is_ok() && !level.chars().all(|c| c.is_ascii_digit())
    });
    levels && EnvFilter::builder().parse(text).is_ok()
}
