//! Images made from nothing but static binaries, as archives that `ctr images import` takes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::kube::binaries::KubeBinaries;

/// A busybox that sleeps: sandbox of every pod, and the base of test pods.
pub const BUSYBOX: &str = "docker.io/lab/busybox:1";
/// CoreDNS.
pub const COREDNS: &str = "docker.io/lab/coredns:1";

/// Packs a folder as an image of one layer. The format is that of `docker save`.
const PACK: &str = r#"
cd "$1"
tar --owner=0 --group=0 -C root -cf layer.tar .
digest=$(sha256sum layer.tar | cut -d' ' -f1)
printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":[%s]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
  "$3" "$4" "$digest" >config.json
printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$2" >manifest.json
tar -cf image.tar manifest.json config.json layer.tar
rm -r root layer.tar
"#;

/// Every applet under its own name, and a page of the web server that names its client.
const BUSYBOX_ROOT: &str = r#"
cd "$1"
mkdir -p root/bin root/tmp root/etc root/www/cgi-bin
cp /bin/busybox root/bin/
for applet in $(/bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox root/bin/$applet; done
printf '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n"\necho "$REMOTE_ADDR $(hostname)"\n' >root/www/cgi-bin/who
chmod 755 root/www/cgi-bin/who
"#;

/// Makes the lab's images in this folder and gives the archives.
///
/// # Errors
/// When a tool is missing.
pub fn make(folder: &Path, binaries: &KubeBinaries) -> Result<Vec<PathBuf>> {
    let coredns = folder.join("coredns");
    let script = r#"mkdir -p "$1/root" && cp "$2" "$1/root/coredns""#;
    sh(
        script,
        &[
            &coredns.display().to_string(),
            &binaries.coredns.display().to_string(),
        ],
    )?;
    Ok(vec![
        busybox(&folder.join("busybox"))?,
        pack(&coredns, COREDNS, r#""/coredns""#)?,
    ])
}

/// Makes the image of busybox in this folder and gives the archive.
///
/// # Errors
/// When a tool is missing.
pub fn busybox(folder: &Path) -> Result<PathBuf> {
    sh(BUSYBOX_ROOT, &[&folder.display().to_string()])?;
    pack(folder, BUSYBOX, r#""/bin/sleep","1000000""#)
}

fn pack(folder: &Path, name: &str, entry: &str) -> Result<PathBuf> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    sh(
        PACK,
        &[&folder.display().to_string(), name, architecture, entry],
    )?;
    Ok(folder.join("image.tar"))
}

fn sh(script: &str, arguments: &[&str]) -> Result<()> {
    let script = format!("mkdir -p \"$1\"\n{script}");
    let output = std::process::Command::new("sh")
        .args(["-euc", &script, "image"])
        .args(arguments)
        .output()
        .context("run sh")?;
    ensure!(
        output.status.success(),
        "make image {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
