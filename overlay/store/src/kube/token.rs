//! Tokens that are renewed: in a file, or by a program.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::config::ExecConfig;
use tokio::sync::Mutex;
use tweed_host::bounded_file::{self, KIB, Links};

use super::bearer::bearer;
use super::program;

/// A file with a token is read again after this: tokens of pods last an hour.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// A program is run again so long before its token expires.
const EARLY: SignedDuration = SignedDuration::from_secs(60);
/// Between two runs of it.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest token in bytes.
const LARGEST: usize = 64 * KIB;

/// A token, and where the next one is from.
#[derive(Clone)]
pub(super) struct Token {
    source: Arc<Source>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Program(Box<ExecConfig>),
}

struct Known {
    header: HeaderValue,
    expires: Option<Timestamp>,
    looked: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.source {
            Source::File(file) => write!(f, "Token({})", file.display()),
            Source::Program(exec) => write!(f, "Token({:?})", exec.command),
        }
    }
}

impl Token {
    /// That in a file, as kubectl's `tokenFile`.
    pub(super) fn of_file(file: &Path) -> Result<Self, String> {
        let header = in_file(file)?;
        Ok(Self::new(Source::File(file.to_owned()), header, None))
    }

    /// That which a program has given.
    pub(super) fn of_program(
        exec: ExecConfig,
        header: HeaderValue,
        expires: Option<Timestamp>,
    ) -> Self {
        Self::new(Source::Program(Box::new(exec)), header, expires)
    }

    fn new(source: Source, header: HeaderValue, expires: Option<Timestamp>) -> Self {
        let looked = Instant::now();
        Self {
            source: Arc::new(source),
            known: Arc::new(Mutex::new(Known {
                header,
                expires,
                looked,
            })),
        }
    }

    /// What goes into a request. While there is no other one, the token of before, as long as it is good.
    ///
    /// # Errors
    /// If it has expired, and its program gives no other one.
    pub(super) async fn header(&self) -> Result<HeaderValue, String> {
        let mut known = self.known.lock().await;
        if self.source.is_due(&known) {
            known.looked = Instant::now();
            match self.source.read().await {
                Ok((header, expires)) => (known.header, known.expires) = (header, expires),
                Err(error) if known.expires.is_some_and(|at| at <= Timestamp::now()) => {
                    return Err(error);
                }
                Err(error) => tracing::warn!(error, "going on with the token of before"),
            }
        }
        Ok(known.header.clone())
    }
}

impl Source {
    fn is_due(&self, known: &Known) -> bool {
        match self {
            Self::File(_) => known.looked.elapsed() >= READ_AGAIN,
            Self::Program(_) => {
                let soon = Timestamp::now() + EARLY;
                known.expires.is_some_and(|at| at <= soon) && known.looked.elapsed() >= PAUSE
            }
        }
    }

    async fn read(&self) -> Result<(HeaderValue, Option<Timestamp>), String> {
        match self {
            Self::File(file) => Ok((in_file(file)?, None)),
            Self::Program(exec) => {
                let given = program::run(exec).await?;
                let token = given.token.ok_or("its program gave no token this time")?;
                Ok((token, given.expires))
            }
        }
    }
}

fn in_file(file: &Path) -> Result<HeaderValue, String> {
    let what = format!("tokenFile {}", file.display());
    let text = bounded_file::read_text(file, Links::Followed, LARGEST);
    let text = text.map_err(|error| format!("read {what}: {error}"))?;
    if text.trim().is_empty() {
        return Err(format!("{what} is empty"));
    }
    bearer(&text, &what)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_token_is_taken_without_the_line_break_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        for text in ["abc.def", "abc.def\n", "abc.def\r\n", "\n abc.def \n\n"] {
            std::fs::write(&file, text).unwrap();
            let header = Token::of_file(&file).unwrap().header().await.unwrap();
            assert_eq!(header, "Bearer abc.def", "{text:?}");
            assert!(header.is_sensitive());
        }
        for (text, wrong) in [(" \n", "is empty"), ("a\nb", "line breaks within")] {
            std::fs::write(&file, text).unwrap();
            let error = Token::of_file(&file).unwrap_err();
            assert!(error.contains(wrong) && error.contains("token"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_programs_token_is_renewed_before_it_expires_and_no_other_one_is_made_of_a_bad_one() {
        let folder = tempfile::tempdir().unwrap();
        let answer = folder.path().join("answer");
        let exec = json!({ "command": "cat", "args": [answer] });
        let exec: ExecConfig = serde_json::from_value(exec).unwrap();
        let token = |expires: Timestamp| {
            let token =
                Token::of_program(exec.clone(), HeaderValue::from_static("old"), Some(expires));
            let long_ago = Instant::now().checked_sub(PAUSE).unwrap();
            token.known.try_lock().unwrap().looked = long_ago;
            token
        };
        let now = Timestamp::now();
        std::fs::write(&answer, r#"{"status":{"token":"new"}}"#).unwrap();
        let later = token(now + SignedDuration::from_hours(1));
        assert_eq!(later.header().await.unwrap(), "old");
        let soon = token(now + EARLY / 2);
        assert_eq!(soon.header().await.unwrap(), "Bearer new");
        std::fs::write(&answer, r#"{"status":{"token":"S3CRET\nx"}}"#).unwrap();
        assert_eq!(token(now + EARLY / 2).header().await.unwrap(), "old");
        let said = token(now).header().await.unwrap_err();
        assert!(
            said.contains("cat: its token is no token") && !said.contains("S3CRET"),
            "{said}"
        );
    }
}
