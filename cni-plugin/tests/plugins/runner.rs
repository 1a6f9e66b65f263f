//! Calls of `tweed run`.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lab::{Answer, Host, answer, go_folder};

/// `tweed run` on a host, with folders of its own.
pub(crate) struct Runner<'h> {
    host: &'h Host,
    /// `CNI_PATH`.
    path: String,
}

impl<'h> Runner<'h> {
    /// One that finds Debian's Go plugins and what the test has written.
    pub(crate) fn new(host: &'h Host) -> Self {
        fs::create_dir_all(host.path("net.d")).unwrap();
        let path = format!("{}:{}", host.path("programs").display(), go_folder());
        Self { host, path }
    }

    /// The same with other folders of plugins.
    pub(crate) fn with_path(self, path: &str) -> Self {
        let path = path.to_owned();
        Self { path, ..self }
    }

    /// Configures a network `net` of these plugins.
    pub(crate) fn configure(&self, version: &str, plugins: Value) -> &Self {
        let list = json!({"cniVersion": version, "name": "net", "plugins": plugins});
        let path = self.host.path("net.d/10-net.conflist");
        fs::write(path, list.to_string()).unwrap();
        self
    }

    /// A bridge with host-local, for Go's plugins and ours.
    pub(crate) fn bridge(&self) -> Value {
        let mut conf = self.host.bridge_conf("1.0.0", &["10.1.2.0/24"]);
        conf["ipam"]["routes"] = json!([{"dst": "10.0.0.0/8", "gw": "10.1.2.1"}]);
        conf
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.host.path("bin/tweed"));
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CNI_PATH", &self.path)
            .arg("run")
            .args(words)
            .arg("--conf-dir")
            .arg(self.host.path("net.d"))
            .arg("--cache-dir")
            .arg(self.host.path("cache"));
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Answer {
        answer(self.command(words), "")
    }

    /// Runs what must succeed, and answers what it printed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let answer = self.run(words);
        assert_eq!(answer.code, 0, "{words:?}: {answer:?}");
        answer.stdout
    }

    /// Runs ADD, which must succeed, and answers its result.
    pub(crate) fn add(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.ok(words)).unwrap()
    }

    /// Runs what must fail, and answers the exit code and the text.
    pub(crate) fn fails(&self, words: &[&str]) -> (i32, String) {
        let answer = self.run(words);
        assert_ne!(answer.code, 0, "{words:?} must fail: {answer:?}");
        assert_eq!(answer.stdout, "", "{words:?}");
        (answer.code, answer.stderr)
    }

    /// The names of what is kept.
    pub(crate) fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.host.path("cache/results"));
        let entries = entries.into_iter().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Nothing of any attachment is left. The kernel takes its time with the interfaces of a namespace that has ended.
    pub(crate) fn is_clean(&self) {
        assert_eq!(self.kept(), [""; 0]);
        let since = Instant::now();
        while !self.host.veths().is_empty() && since.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.host.veths(), [""; 0]);
        assert_eq!(self.host.reservations("net"), [""; 0]);
    }
}
