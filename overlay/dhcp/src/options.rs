//! The flags of `dhcp daemon`: those of Go's, as Go reads them, and one of ours. Pure.

use std::path::PathBuf;
use std::time::Duration;

use crate::protocol::SOCKET;

pub const HELP: &str = "dhcp daemon: keeps the leases of containers

  -pidfile <path>          where to write its process id; absolute
  -hostprefix <path>       what comes before the socket's path and the namespaces' paths
  -socketpath <path>       where it listens (/run/cni/dhcp.sock), unless systemd passes a socket
  -broadcast               have servers send all answers to everybody on the link
  -timeout <duration>      how long it listens for the answer to a message (10s)
  -resendmax <duration>    the longest pause between two messages (62s)
  -resendtimeout <duration>  how long it asks for a lease before ADD fails (208s)
  -leasedir <path>         where it keeps leases (beside the socket: dhcp.leases)
";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub pidfile: Option<PathBuf>,
    pub prefix: String,
    pub socket: PathBuf,
    pub leases: PathBuf,
    pub broadcast: bool,
    pub timeout: Duration,
    pub resend_max: Duration,
    pub resend_timeout: Duration,
}

/// What the arguments ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Run(Options),
    Help,
}

impl Options {
    /// Reads the arguments behind `daemon`: one dash or two, a value behind `=` or as the next argument.
    ///
    /// # Errors
    /// A flag that there is not, or a value that can't be, with what is wanted.
    pub fn parse(arguments: &[String]) -> Result<Asked, String> {
        let mut options = Self {
            pidfile: None,
            prefix: String::new(),
            socket: SOCKET.into(),
            leases: PathBuf::new(),
            broadcast: false,
            timeout: Duration::from_secs(10),
            resend_max: Duration::from_secs(62),
            resend_timeout: Duration::from_secs(208),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let flag = argument.strip_prefix('-');
            let flag = flag.map(|flag| flag.strip_prefix('-').unwrap_or(flag));
            let Some(flag) = flag else {
                return Err(format!("{argument:?} is no flag"));
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            match name {
                "h" | "help" => return Ok(Asked::Help),
                "broadcast" => options.broadcast = boolean(value)?,
                _ => {
                    let next = || arguments.next().map(String::as_str);
                    let value = value.or_else(next);
                    let value = value.ok_or_else(|| format!("-{name} needs a value"))?;
                    options.set(name, value)?;
                }
            }
        }
        Ok(Asked::Run(options.completed()))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "pidfile" if !value.starts_with('/') => {
                return Err(format!("-pidfile {value:?}: want an absolute path"));
            }
            "pidfile" => self.pidfile = Some(value.into()),
            "hostprefix" => value.trim_end_matches('/').clone_into(&mut self.prefix),
            "socketpath" if value.is_empty() => {}
            "socketpath" => self.socket = value.into(),
            "leasedir" => self.leases = value.into(),
            "timeout" => self.timeout = duration(name, value)?,
            "resendmax" => self.resend_max = duration(name, value)?,
            "resendtimeout" => self.resend_timeout = duration(name, value)?,
            _ => return Err(format!("there is no flag -{name}")),
        }
        Ok(())
    }

    fn completed(mut self) -> Self {
        if self.leases.as_os_str().is_empty() {
            self.leases = self.socket.with_file_name("dhcp.leases");
        }
        for path in [&mut self.socket, &mut self.leases] {
            *path = crate::record::prefixed(&self.prefix, path);
        }
        self
    }
}

fn boolean(value: Option<&str>) -> Result<bool, String> {
    match value.unwrap_or("true") {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        value => Err(format!("-broadcast={value:?}: want true or false")),
    }
}

/// Numbers with units, as Go writes durations: `1m30s`, `500ms`, `1.5s`.
fn duration(name: &str, text: &str) -> Result<Duration, String> {
    let wrong = || format!("-{name} {text:?}: want a duration such as 10s, 1m30s or 500ms");
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, behind) = rest.split_at(number.ok_or_else(wrong)?);
        let unit = behind.find(|c: char| c.is_ascii_digit());
        let (unit, behind) = behind.split_at(unit.unwrap_or(behind.len()));
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        seconds += number.parse::<f64>().map_err(|_| wrong())? * factor;
        rest = behind;
    }
    // A day: nothing waits longer for a server.
    match seconds > 0.0 && seconds <= 86_400.0 {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &str) -> Result<Asked, String> {
        let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    fn run(arguments: &str) -> Options {
        match read(arguments).unwrap() {
            Asked::Run(options) => options,
            Asked::Help => panic!("help"),
        }
    }

    #[test]
    fn without_flags_all_is_as_in_go() {
        let options = run("");
        assert_eq!(options.socket, PathBuf::from("/run/cni/dhcp.sock"));
        assert_eq!(options.leases, PathBuf::from("/run/cni/dhcp.leases"));
        let times = [options.timeout, options.resend_max, options.resend_timeout];
        assert_eq!(times.map(|time| time.as_secs()), [10, 62, 208]);
        assert!(!options.broadcast && options.prefix.is_empty());
    }

    #[test]
    fn flags_are_read_in_every_spelling_of_go() {
        let options = run(
            "-hostprefix /host --socketpath=/run/x.sock -broadcast -timeout=1m30s --resendmax 500ms -resendtimeout 1.5s -pidfile /run/pid",
        );
        assert_eq!(options.socket, PathBuf::from("/host/run/x.sock"));
        assert_eq!(options.leases, PathBuf::from("/host/run/dhcp.leases"));
        assert!(options.broadcast);
        let times = [options.timeout, options.resend_max, options.resend_timeout];
        assert_eq!(times.map(|time| time.as_millis()), [90_000, 500, 1500]);
        assert_eq!(options.pidfile, Some("/run/pid".into()));
        assert!(!run("-broadcast=false").broadcast);
        assert_eq!(read("-socketpath=/x -help"), Ok(Asked::Help));
    }

    #[test]
    fn what_can_not_be_is_refused_with_what_is_wanted() {
        for (arguments, why) in [
            ("daemon", "\"daemon\" is no flag"),
            ("-port=1", "there is no flag -port"),
            ("-timeout", "-timeout needs a value"),
            ("-timeout=10", "want a duration"),
            ("-timeout=-1s", "want a duration"),
            ("-timeout=99999h", "want a duration"),
            ("-pidfile=x", "want an absolute path"),
            ("-broadcast=2", "want true or false"),
        ] {
            let error = read(arguments).unwrap_err();
            assert!(error.contains(why), "{arguments}: {error}");
        }
    }
}
