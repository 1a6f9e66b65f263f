//! The guest's file system: test programs and what they start, at the paths that they have on the host, with commands,
//! libraries, Go's plugins and kernel modules of the host.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

use super::archive::Archive;
use super::modules;
use super::programs::{Build, Program};

const INIT: &str = include_str!("init.sh");
const BUSYBOX: &str = "/bin/busybox";

/// Commands of the host. What else tests call is busybox's.
const COMMANDS: &[&str] = &[
    "bridge",
    "conntrack",
    "dash",
    "ethtool",
    "ip",
    "ip6tables",
    "ip6tables-legacy",
    "ip6tables-nft",
    "ip6tables-save",
    "iptables",
    "iptables-legacy",
    "iptables-nft",
    "iptables-nft-save",
    "iptables-restore",
    "iptables-save",
    "mount",
    "nft",
    "nsenter",
    "ping",
    "setpriv",
    "ss",
    "strace",
    "sysctl",
    "tc",
    "umount",
    "unshare",
];

/// Where commands lie, in the order in which the guest looks for them too; busybox is last.
const PLACES: [&str; 2] = ["/usr/sbin", "/usr/bin"];

/// Go's plugins.
const GO_PLUGINS: &str = "/usr/lib/cni";

/// Files that are read without being named, or loaded without being linked to.
const FOLDERS: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/xtables",
    GO_PLUGINS,
    "/etc/iproute2",
];
const FILES: &[&str] = &["/etc/protocols", "/etc/services", "/etc/ethertypes"];

/// Packs the guest's file system.
///
/// # Errors
/// When something is missing on the host; it says what.
pub(super) fn pack(build: &Build, modules: &Path) -> Result<Vec<u8>> {
    let mut image = Image::default();
    image.base()?;
    for command in COMMANDS {
        image.command(command)?;
    }
    for folder in FOLDERS {
        image.tree(Path::new(folder))?;
    }
    if let Some(folder) = env::var_os("TWEED_GO_PLUGINS") {
        image.go_plugins(Path::new(&folder))?;
    }
    for file in FILES.iter().map(Path::new).filter(|file| file.is_file()) {
        image.archive.file(file, 0o644, fs::read(file)?);
    }
    for program in &build.programs {
        image.program(&program.path)?;
        image.archive.folder(&program.folder);
        image.tree(&program.folder.join("tests/data"))?;
    }
    for binary in &build.binaries {
        image.program(binary)?;
    }
    image.modules(modules)?;
    let script = build.programs.iter().map(lines_of).collect::<String>();
    image.archive.file("/tests.sh", 0o644, script.into_bytes());
    image.archive.bytes()
}

/// The lines of the shell that run a program's tests.
fn lines_of(program: &Program) -> String {
    let Program {
        label,
        path,
        folder,
        tests,
    } = program;
    let mut lines = format!("echo 'guest: runs {label}'\ncd {}\n", folder.display());
    let _ = write!(
        lines,
        "{} --include-ignored --exact --test-threads 2",
        path.display()
    );
    for test in tests {
        let _ = write!(lines, " {test}");
    }
    let _ = writeln!(lines, "\necho \"guest: ended {label} $?\"");
    lines
}

#[derive(Default)]
struct Image {
    archive: Archive,
    /// Libraries that are in it.
    libraries: BTreeSet<PathBuf>,
}

impl Image {
    fn base(&mut self) -> Result<()> {
        let archive = &mut self.archive;
        for folder in [
            "/proc",
            "/sys",
            "/run",
            "/tmp",
            "/root",
            "/var/lib",
            "/usr/lib",
            "/usr/lib64",
            "/etc",
        ] {
            archive.folder(folder);
        }
        archive.link("/lib", "usr/lib");
        archive.link("/lib64", "usr/lib64");
        archive.link("/sbin", "usr/sbin");
        archive.console();
        archive.file("/init", 0o755, INIT.into());
        archive.file(
            "/etc/passwd",
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\n".into(),
        );
        archive.file(
            "/etc/hosts",
            0o644,
            b"127.0.0.1 localhost\n::1 localhost\n".into(),
        );
        let busybox = fs::read(BUSYBOX)
            .with_context(|| format!("read {BUSYBOX}: is busybox-static there?"))?;
        archive.file(BUSYBOX, 0o755, busybox);
        for applet in output(BUSYBOX, &["--list"])?
            .lines()
            .filter(|applet| *applet != "busybox")
        {
            archive.link(Path::new("/bin").join(applet), "busybox");
        }
        // Busybox's own shell runs its applets in place of the commands.
        archive.link("/bin/sh", "/usr/bin/dash");
        Ok(())
    }

    /// A command under its name, which may be a link to the program.
    fn command(&mut self, name: &str) -> Result<()> {
        let mut paths = PLACES.iter().map(|place| Path::new(place).join(name));
        let Some(path) = paths.find(|path| path.exists()) else {
            bail!(
                "the guest's tests need {name}, which is not in {}",
                PLACES.join(" or ")
            );
        };
        let real = path.canonicalize()?;
        if real != path {
            self.archive.link(&path, &real.display().to_string());
        }
        if !self.archive.has(&real) {
            self.archive.file(&real, 0o755, fs::read(&real)?);
        }
        self.libraries_of(&real)
    }

    /// A program of ours, without the symbols that only a debugger needs.
    fn program(&mut self, path: &Path) -> Result<()> {
        let stripped = tempfile::NamedTempFile::new()?;
        let to = stripped.path().display().to_string();
        output("strip", &["-o", &to, &path.display().to_string()])?;
        self.archive.file(path, 0o755, fs::read(stripped.path())?);
        self.libraries_of(path)
    }

    /// What the dynamic linker would load.
    fn libraries_of(&mut self, path: &Path) -> Result<()> {
        // A static program, such as one of Go's, has none, which ldd takes for a failure.
        let text = Command::new("ldd")
            .arg(path)
            .output()
            .context("run ldd")?
            .stdout;
        let text = String::from_utf8_lossy(&text).into_owned();
        for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
            if self.libraries.insert(library.into()) {
                // The old folders are links into the new ones.
                let within = library.trim_start_matches("/usr");
                let content = fs::read(library).with_context(|| format!("read {library}"))?;
                self.archive.file(format!("/usr{within}"), 0o755, content);
            }
        }
        Ok(())
    }

    /// A folder with all that lies in it; links stay links. Not every host has every one.
    fn tree(&mut self, folder: &Path) -> Result<()> {
        if !folder.is_dir() {
            return Ok(());
        }
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_symlink() {
                let to = fs::read_link(&path)?;
                self.archive.link(&path, &to.display().to_string());
            } else if path.is_dir() {
                self.tree(&path)?;
            } else {
                self.archive.file(&path, 0o755, fs::read(&path)?);
            }
        }
        Ok(())
    }

    /// Newer plugins of Go's, in the place of the host's.
    fn go_plugins(&mut self, folder: &Path) -> Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().context("a plugin has a name")?;
            let place = Path::new(GO_PLUGINS).join(name);
            self.archive.file(place, 0o755, fs::read(&path)?);
        }
        Ok(())
    }

    fn modules(&mut self, folder: &Path) -> Result<()> {
        let mut order = String::new();
        for path in modules::in_order(folder)? {
            let name = path.file_name().context("a module has a name")?;
            let name = name.to_string_lossy();
            self.archive
                .file(format!("/modules/{name}"), 0o644, fs::read(&path)?);
            let _ = writeln!(order, "{name}");
        }
        self.archive
            .file("/modules/order", 0o644, order.into_bytes());
        Ok(())
    }
}

fn output(program: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(program).args(words).output();
    let output = output.with_context(|| format!("run {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} {words:?}: {}",
        errors.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
