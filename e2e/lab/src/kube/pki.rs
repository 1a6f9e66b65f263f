//! Certificates and kubeconfigs of a cluster, made by `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Files of a cluster's certificate authority.
#[derive(Clone, Debug)]
pub struct Pki {
    folder: PathBuf,
}

impl Pki {
    /// Makes an authority and the key pair of service-account tokens in this folder, which must not exist.
    ///
    /// # Errors
    /// When `openssl` is missing or the folder exists.
    pub fn new(folder: PathBuf) -> Result<Self> {
        fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        let pki = Self { folder };
        pki.openssl(&[
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=lab",
            "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign",
            "-keyout ca.key -out ca.crt",
        ])?;
        pki.openssl(&["ecparam -genkey -name prime256v1 -noout -out tokens.key"])?;
        pki.openssl(&["ec -in tokens.key -pubout -out tokens.pub"])?;
        Ok(pki)
    }

    /// A file of the authority: `ca.crt`, `tokens.key`, `tokens.pub`, `<name>.crt`, `<name>.key`.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Makes `<name>.key` and `<name>.crt` for this subject (`/O=group/CN=user`), valid for these names
    /// (`DNS:…`, `IP:…`). Neither may contain a space.
    ///
    /// # Errors
    /// When `openssl` refuses.
    pub fn sign(&self, name: &str, subject: &str, names: &[String]) -> Result<()> {
        let alternatives = match names {
            [] => String::new(),
            names => format!("-addext subjectAltName={}", names.join(",")),
        };
        self.openssl(&[
            "req -x509 -CA ca.crt -CAkey ca.key -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes",
            "-days 30 -addext basicConstraints=CA:FALSE",
            &format!("-subj {subject} -keyout {name}.key -out {name}.crt {alternatives}"),
        ])
    }

    /// Makes a kubeconfig of a user with these groups, who finds the API server at this URL, and gives its path.
    ///
    /// # Errors
    /// When `openssl` refuses.
    pub fn kubeconfig(&self, user: &str, groups: &[&str], server: &str) -> Result<PathBuf> {
        let name: String = user.replace(':', "-");
        let groups: String = groups.iter().map(|group| format!("/O={group}")).collect();
        self.sign(&name, &format!("{groups}/CN={user}"), &[])?;
        let path = self.path(&format!("{name}.kubeconfig"));
        let text = format!(
            "apiVersion: v1\n\
             kind: Config\n\
             current-context: lab\n\
             contexts: [{{name: lab, context: {{cluster: lab, user: lab}}}}]\n\
             clusters: [{{name: lab, cluster: {{server: '{server}', certificate-authority: '{ca}'}}}}]\n\
             users: [{{name: lab, user: {{client-certificate: '{cert}', client-key: '{key}'}}}}]\n",
            ca = self.path("ca.crt").display(),
            cert = self.path(&format!("{name}.crt")).display(),
            key = self.path(&format!("{name}.key")).display(),
        );
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn openssl(&self, lines: &[&str]) -> Result<()> {
        let words = lines.iter().flat_map(|line| line.split_whitespace());
        let output = Command::new("openssl")
            .args(words)
            .current_dir(&self.folder)
            .output()
            .context("run openssl")?;
        ensure!(
            output.status.success(),
            "openssl {lines:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }
}
