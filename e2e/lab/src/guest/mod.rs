//! A machine under qemu with Debian's kernel, for tests of things that the host's kernel lacks. It boots once, runs test
//! programs of other packages from a file system in memory, and is gone.
//!
//! `programs` chooses and builds what runs. `image` packs it with commands, libraries and kernel modules (`modules`)
//! into an `archive`. `machine` boots that, and `report` compares what has run with what should have.

mod archive;
mod image;
mod machine;
mod modules;
mod programs;
mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use crate::binaries::build_folder;
use crate::document::root;
use machine::Machine;
use report::Report;

/// The guest has ended by then. It takes a minute where nothing else runs.
const LIMIT: Duration = Duration::from_secs(900);

/// Kernel and emulator, as `.ci/guest` leaves them.
#[derive(Debug)]
struct Parts {
    /// Where this tier keeps its files.
    folder: PathBuf,
    kernel: PathBuf,
    /// The kernel's modules.
    modules: PathBuf,
}

/// Runs the tests whose names contain one of the words, or all if there is none, and prints what the usual harness
/// would print. Returns whether all that should have run did, and passed.
///
/// # Errors
/// When a part is missing, a program can't be built, or the emulator doesn't start.
pub fn run(words: &[String]) -> Result<bool> {
    let parts = Parts::locate()?;
    let start = Instant::now();
    // As cargo says it now: what was built in another copy of the project has that one's path in it.
    let root =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(root, |e2e| Path::new(&e2e).join(".."));
    let build = programs::build(&root, words)?;
    let mut report = Report::new(&build.programs);
    if build.programs.is_empty() {
        println!(
            "guest: no test has one of these words in its name: {}",
            words.join(" ")
        );
        return Ok(report.finish());
    }
    let built = start.elapsed();
    let image = parts.folder.join("image");
    let bytes = image::pack(&build, &parts.modules)?;
    fs::write(&image, &bytes).with_context(|| format!("write {}", image.display()))?;
    let size = bytes.len() >> 20;
    let packed = start.elapsed() - built;
    println!("guest: built in {built:.1?}, {size} MiB packed in {packed:.1?}");
    let console = parts.folder.join("console");
    let machine = Machine::boot(&parts.kernel, &image, &console)?;
    let ended = machine.lines(LIMIT, |line| {
        println!("{line}");
        report.line(line);
    });
    if let Err(error) = ended {
        report.fail(format!("{error:#}"));
        print!(
            "{}",
            tail(&fs::read_to_string(&console).unwrap_or_default())
        );
    }
    fs::remove_file(&image)?;
    println!("guest: all in {:.0?}", start.elapsed());
    Ok(report.finish())
}

impl Parts {
    fn locate() -> Result<Self> {
        ensure!(
            cfg!(target_arch = "x86_64"),
            "the guest tier needs an x86-64 host: it runs the host's programs on a kernel of the same kind, and knows no other"
        );
        let folder = match env::var_os("TWEED_GUEST_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => build_folder("guest")?.join("guest"),
        };
        let (kernel, modules) = (folder.join("kernel/vmlinuz"), folder.join("kernel/modules"));
        ensure!(
            kernel.is_file() && modules.is_dir(),
            "{} is not there: run .ci/guest, or let make do it",
            kernel.display()
        );
        Ok(Self {
            folder,
            kernel,
            modules,
        })
    }
}

/// The end of the kernel's own output.
fn tail(console: &str) -> String {
    const LINES: usize = 40;
    let lines: Vec<&str> = console.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    let lines = last.iter().map(|line| format!("guest console: {line}\n"));
    lines.collect()
}
