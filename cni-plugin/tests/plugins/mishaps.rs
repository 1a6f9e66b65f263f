//! What goes wrong around a plugin: system calls that fail, a process that is killed, and what a runtime may have lost
//! when it removes a container.

use std::process::Command;

use super::lab::{Answer, Call, Host, Pod, answer, sh};

/// A loss by its name, and the call of DEL behind it.
pub(crate) type Loss = (&'static str, fn(&Pod, &Call) -> Call);

/// What any container may have lost.
pub(crate) const LOSSES: [Loss; 5] = [
    ("nothing", |_, call| call.clone()),
    ("the namespace", |pod, call| {
        sh(&format!("ip netns del {}", pod.name()));
        call.clone()
    }),
    ("the namespace and the path", |pod, call| {
        sh(&format!("ip netns del {}", pod.name()));
        call.netns("")
    }),
    ("the mount, not the file", |pod, call| {
        let path = pod.path();
        sh(&format!("umount {path}; touch {path}"));
        call.clone()
    }),
    ("the interface", |pod, call| {
        pod.sh("ip link del eth0");
        call.clone()
    }),
];

/// Runs ADD with one system call of each thread failing, or killed there; `None` if no thread made so many.
pub(crate) fn injected(
    host: &Host,
    call: &Call,
    name: &str,
    how: &str,
    number: usize,
) -> Option<Answer> {
    let trace = host.path("trace");
    let plain = call.command("ADD");
    let mut command = Command::new("strace");
    command.env_clear().args(["-f", "-qq", "-o"]).arg(&trace);
    command.args(["-e", &format!("trace={name}"), "-e"]);
    command.arg(format!("inject={name}:{how}:when={number}"));
    command.arg(plain.get_program());
    let set = plain
        .get_envs()
        .filter_map(|(key, value)| Some((key, value?)));
    command.envs(set);
    let answer = answer(command, &call.conf().to_string());
    let seen = std::fs::read_to_string(&trace).unwrap();
    let hit = seen.contains("(INJECTED)") || seen.contains("killed by SIGKILL");
    hit.then_some(answer)
}
