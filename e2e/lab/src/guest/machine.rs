//! The emulated machine: started, read from, and ended.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// No address space layout, no mitigations: an emulated processor gains nothing by them and pays for each. Interfaces and
/// namespaces go without waiting for quiet processors.
const APPEND: &str =
    "console=ttyS0 quiet panic=-1 nokaslr no5lvl mitigations=off rcupdate.rcu_expedited=1";

/// A machine that runs. It ends with this, or with our process.
pub(super) struct Machine {
    child: Child,
    begun: Instant,
}

impl Machine {
    /// Starts the machine. The kernel writes to the file `console`, the tests to [`Machine::lines`].
    ///
    /// # Errors
    /// When the emulator can't be started.
    pub(super) fn boot(kernel: &Path, image: &Path, console: &Path) -> Result<Self> {
        let mut command = Command::new("setpriv");
        // Software emulation: it works on every host, inside other virtual machines too.
        command.args(
            "--pdeathsig KILL qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 1536".split(' '),
        );
        command.args("-nodefaults -display none -nic none -monitor none -no-reboot".split(' '));
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(image);
        command.args(["-append", APPEND, "-serial"]);
        command.arg(format!("file:{}", console.display()));
        command.args(["-serial", "stdio"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command
            .spawn()
            .context("start qemu-system-x86_64 by setpriv")?;
        Ok(Self {
            child,
            begun: Instant::now(),
        })
    }

    /// Passes each line on until the machine ends.
    ///
    /// # Errors
    /// When it doesn't end in time: then it is ended. When the emulator fails.
    pub(super) fn lines(mut self, limit: Duration, mut each: impl FnMut(&str)) -> Result<()> {
        let stdout = self.child.stdout.take().context("qemu has no output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || read(stdout, &sender));
        loop {
            let left = limit.saturating_sub(self.begun.elapsed());
            match lines.recv_timeout(left) {
                Ok(line) if line == "guest: up" => {
                    println!("guest: up {:.1?} after its start", self.begun.elapsed());
                }
                Ok(line) => each(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("the guest has not ended within {limit:?}"),
            }
        }
        let status = self.child.wait().context("wait for qemu")?;
        ensure!(status.success(), "qemu ended with {status}");
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A terminal ends lines with a carriage return too.
fn read(stdout: ChildStdout, lines: &mpsc::Sender<String>) {
    let mut reader = BufReader::new(stdout);
    let mut bytes = Vec::new();
    while reader
        .read_until(b'\n', &mut bytes)
        .is_ok_and(|read| read > 0)
    {
        let line = String::from_utf8_lossy(&bytes);
        if lines.send(line.trim_end().to_owned()).is_err() {
            return;
        }
        bytes.clear();
    }
}
