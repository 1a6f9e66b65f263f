//! A real systemd as the service manager of a host: the system instance, first process of a process namespace of its own,
//! with no units but ours and a cgroup that goes with it. It runs the unit that is shipped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::agent::Agent;
use crate::launch::Launch;
use crate::topology::{Host, Lab};
use crate::wait::eventually;

/// Where a host keeps units and what they run: `tweedd` is here.
pub const FOLDER: &str = "/run/.lab/systemd";
const UNIT: &str = include_str!("../../../manifests/systemd/tweedd.service");

/// Speaks to the manager: `$pid` has started it, and has its namespaces, but not its process namespace.
const JOIN: &str = "nsenter --target $pid --mount --cgroup --pid=/proc/$pid/ns/pid_for_children /usr/bin/systemctl";

/// Runs until the end of its input. What is mounted here is seen by systemd and its services only.
const SETUP: &str = r#"
mount --make-rprivate /
while umount -R /sys/fs/cgroup 2>/dev/null; do :; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$2"
mount --bind "$3" "$1/tweedd"
export SYSTEMD_UNIT_PATH="$1:/etc/systemd/system" SYSTEMD_LOG_TARGET=console container=lab
sh -euc '
  echo 0 >"/sys/fs/cgroup/$1/cgroup.procs"
  exec unshare --cgroup --pid --mount --fork --kill-child sh -euc "
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount -t proc proc /proc
    exec /lib/systemd/systemd --system --unit=lab.target"
' systemd "$2" </dev/null &
echo $! >"$1/pid"
cat >/dev/null
kill -KILL $!
wait || true
for _ in 1 2 3 4 5 6 7 8 9 10; do
  find "/sys/fs/cgroup/$2" -depth -type d -exec rmdir {} + 2>/dev/null && break
  sleep 0.1
done
"#;

/// A running service manager. It ends, with its services, when this is dropped.
#[derive(Debug)]
pub struct Systemd<'lab> {
    host: &'lab Host,
    child: Child,
    input: Option<ChildStdin>,
}

impl<'lab> Systemd<'lab> {
    /// Starts one that has the shipped unit for an agent with these arguments, which it does not start yet. `more` are
    /// further lines of its section `[Service]`.
    ///
    /// # Errors
    /// When it does not come up: a machine without systemd.
    pub fn start(lab: &Lab, host: &'lab Host, launch: &Launch, more: &str) -> Result<Self> {
        let folder = host.path(FOLDER);
        fs::create_dir_all(folder.join("tweedd.service.d"))?;
        fs::write(folder.join("tweedd.service"), UNIT)?;
        let arguments = Agent::arguments(launch).join(" ");
        let log = host.log("tweedd-systemd");
        let log = log.display();
        // Nothing but what the lab needs: another program, its output in a file.
        let lines = format!(
            "[Service]\nExecStart=\nExecStart={FOLDER}/tweedd {arguments}\nStandardOutput=append:{log}\n\
             StandardError=append:{log}\n{more}\n"
        );
        fs::write(folder.join("tweedd.service.d/lab.conf"), lines)?;
        Self::boot(lab, host)
    }

    /// Starts one without a unit of ours: they go into `/etc/systemd/system`. `systemctl` on the host speaks to it, and
    /// `/usr/local/bin` there is the host's own.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn bare(lab: &Lab, host: &'lab Host) -> Result<Self> {
        host.sh("mount -t tmpfs -o mode=755 lab /usr/local/bin")?;
        let program = host.path("/usr/local/bin/systemctl");
        fs::write(
            &program,
            format!("#!/bin/sh\npid=$(cat {FOLDER}/pid)\n{JOIN} \"$@\"\n"),
        )?;
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
        Self::boot(lab, host)
    }

    fn boot(lab: &Lab, host: &'lab Host) -> Result<Self> {
        let folder = host.path(FOLDER);
        fs::create_dir_all(&folder)?;
        // Every service needs these settings.
        let targets = ["sysinit", "basic", "shutdown", "network-online", "lab"];
        for target in targets {
            let path = folder.join(format!("{target}.target"));
            fs::write(path, "[Unit]\nDefaultDependencies=no\n")?;
        }
        fs::write(folder.join("tweedd"), "")?;
        let mut child = Self::spawn(host, &lab.binaries.tweedd)?;
        let input = child.stdin.take();
        let manager = Self { host, child, input };
        eventually("systemd runs", || {
            let state = manager.ctl(&["show", "--property=Version"])?;
            ensure!(state.starts_with("Version="), "{state}");
            Ok(())
        })?;
        Ok(manager)
    }

    fn spawn(host: &Host, program: &Path) -> Result<Child> {
        let log = fs::File::create(host.log("systemd"))?;
        let cgroup = format!("tweed-lab-{}", host.ns().init_pid());
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-euc", SETUP, "lab", FOLDER, &cgroup])
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log);
        host.place().spawn(&mut command)
    }

    /// Runs `systemctl`.
    ///
    /// # Errors
    /// When it fails.
    pub fn ctl(&self, words: &[&str]) -> Result<String> {
        let pid = fs::read_to_string(self.host.path(FOLDER).join("pid"))?;
        let join = JOIN.replace("$pid", pid.trim());
        let words = join.split(' ').chain(words.iter().copied());
        self.host.place().cmd(words)
    }

    /// Everything the agent has logged.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let path = self.host.log("tweedd-systemd");
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }
}

impl Drop for Systemd<'_> {
    fn drop(&mut self) {
        // Only then it removes what it has made outside, in /tmp.
        let _ = self.ctl(&["stop", "tweedd.service"]);
        self.input.take();
        let _ = self.child.wait();
    }
}
