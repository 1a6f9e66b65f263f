//! Processes by their numbers. A number alone says little: when its process has ended, another one gets it.

use std::fs;
use std::path::PathBuf;

/// The path of its network namespace.
pub(crate) fn netns(number: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{number}/ns/net"))
}

/// When it was started, in the kernel's ticks since boot. None if it is gone.
pub(crate) fn started(number: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // The name stands in parentheses and may have any characters; then come the third field and the others.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Whether it is the first process of that container: it is the child of the program that looks after the container,
/// which has the ID among its arguments, or looks after several of one pod.
pub(crate) fn is_of(number: u32, id: &str) -> bool {
    let arguments = || {
        let status = fs::read_to_string(format!("/proc/{number}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        fs::read(format!("/proc/{}/cmdline", parent.trim())).ok()
    };
    let arguments = arguments().unwrap_or_default();
    let mut arguments = arguments.split(|byte| *byte == 0);
    let program = arguments.next().unwrap_or_default();
    String::from_utf8_lossy(program).contains("/containerd-shim")
        || arguments.any(|argument| argument == id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_when_it_was_started_and_by_its_parents_arguments() {
        let own = std::process::id();
        assert!(started(own).is_some_and(|ticks| ticks > 0));
        assert_eq!(started(own), started(own));
        assert_eq!(started(u32::MAX), None);
        assert!(!is_of(own, "no argument of the parent's"));
        assert!(!is_of(u32::MAX, "any"));
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; wait", "sh", "abc"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = shell.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        let child: u32 = line.trim().parse().unwrap();
        assert!(is_of(child, "abc") && !is_of(child, "ab"));
        for number in [child, shell.id()] {
            let number = nix::unistd::Pid::from_raw(number.try_into().unwrap());
            nix::sys::signal::kill(number, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        shell.wait().unwrap();
    }
}
