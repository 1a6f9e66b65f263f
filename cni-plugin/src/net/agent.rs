//! Whether the agent behind a `subnet.env` runs. Pods can be attached without it, and those that run go on; but this
//! node learns of no new nodes, and what breaks stays broken.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tweed_model::presence::Presence;

use crate::spec::{CniError, Kind};
use crate::state::agents;

/// How long an agent that was stopped may be away: an upgrade is a restart, and no reason to report a failure.
const RESTART: Duration = Duration::from_secs(30);

/// Looks for the agent that has registered the file as its own. Without one, as with flannel's, nothing is known.
///
/// # Errors
/// When it has, and doesn't run.
pub(crate) fn runs(folder: &Path, subnet_file: &Path) -> Result<(), CniError> {
    let mut missing = None;
    let own = |(_, presence): &(PathBuf, Presence)| Path::new(&presence.subnet_file) == subnet_file;
    for (path, presence) in agents::all(folder).filter(own) {
        match look(&path, &presence, subnet_file) {
            Some(Ok(())) => return Ok(()),
            Some(Err(socket)) => missing = Some(socket),
            None => {}
        }
    }
    let Some(socket) = missing else { return Ok(()) };
    let msg = format!(
        "the agent of {} does not run: nothing answers at {}",
        subnet_file.display(),
        socket.display()
    );
    Err(CniError::new(Kind::Limited, msg).details(
        "pods that run keep what is programmed, and learn of no change; start tweedd, its log says why it ended",
    ))
}

/// What follows from a file: nothing, that the agent runs or is about to, or the socket at which it doesn't answer.
fn look(path: &Path, presence: &Presence, subnet_file: &Path) -> Option<Result<(), PathBuf>> {
    if agents::answers(presence) {
        return Some(Ok(()));
    }
    let written = modified(path)?;
    if presence.stopped {
        // Another program has taken over since, and writes the file.
        if modified(subnet_file).is_some_and(|since| since > written) {
            return None;
        }
        let away = SystemTime::now()
            .duration_since(written)
            .unwrap_or_default();
        if away < RESTART {
            return Some(Ok(()));
        }
    }
    Some(Err(PathBuf::from(&presence.socket)))
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|file| file.modified()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    struct Node {
        dir: tempfile::TempDir,
    }

    impl Node {
        fn at(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn registers(&self, subnet_file: &Path, stopped: bool, seconds_ago: u64) {
            let presence = Presence {
                subnet_file: subnet_file.to_string_lossy().into_owned(),
                socket: self.at("tweed.sock").to_string_lossy().into_owned(),
                stopped,
                removes_links_of: None,
            };
            fs::write(self.at("tweed.agent"), presence.to_string()).unwrap();
            self.age("tweed.agent", seconds_ago);
        }

        fn age(&self, name: &str, seconds_ago: u64) {
            let file = fs::File::options().write(true).open(self.at(name)).unwrap();
            let then = SystemTime::now() - Duration::from_secs(seconds_ago);
            file.set_modified(then).unwrap();
        }

        fn runs(&self) -> Result<(), u32> {
            runs(self.dir.path(), &self.at("subnet.env")).map_err(|error| error.kind.code())
        }
    }

    #[test]
    fn an_agent_that_is_gone_differs_from_one_that_restarts_and_from_none() {
        let node = Node {
            dir: tempfile::tempdir().unwrap(),
        };
        let (env, other) = (node.at("subnet.env"), node.at("other.env"));
        fs::write(&env, "").unwrap();
        node.age("subnet.env", 500);
        assert_eq!(node.runs(), Ok(()), "flannel's agent registers nothing");
        node.registers(&env, false, 600);
        assert_eq!(node.runs(), Err(51), "it was killed");
        node.registers(&other, false, 600);
        assert_eq!(node.runs(), Ok(()), "another network's");
        node.registers(&env, true, 5);
        assert_eq!(node.runs(), Ok(()), "it restarts");
        node.registers(&env, true, 40);
        assert_eq!(node.runs(), Err(51), "it was stopped and has not come back");
        node.age("subnet.env", 20);
        assert_eq!(node.runs(), Ok(()), "flannel's has taken over");
        node.registers(&env, false, 600);
        let listener = UnixListener::bind(node.at("tweed.sock")).unwrap();
        assert_eq!(node.runs(), Ok(()));
        drop(listener);
        assert_eq!(node.runs(), Err(51), "a socket that nobody answers at");
    }
}
