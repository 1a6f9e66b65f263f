//! Keeping the own lease: its file is put back whenever it differs, until somebody else's stands there.

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tweed_model::{Dual, Lease, wire};

use super::changes::Changes;
use super::folder::Content;
use super::gate::Gate;
use crate::standing::{Fight, Finding, find, say, say_lost, say_unsure};
use crate::{Ended, Held, Holding, StoreError};

/// A lease in a folder.
#[derive(Debug)]
pub struct FileHeld {
    pub(super) gate: Gate,
    pub(super) reread: Duration,
    pub(super) lease: Lease,
}

impl FileHeld {
    /// What stands in the own file, and whether all is well.
    async fn look(&self) -> Result<(Finding, bool), StoreError> {
        let lease = self.lease.clone();
        self.gate
            .run(move |folder| Ok(judged(&lease, &folder.read()?)))
            .await
    }

    /// Writes the own file, unless it belongs to somebody else.
    async fn repair(&self) -> Result<Finding, StoreError> {
        let lease = self.lease.clone();
        self.gate
            .run(move |folder| {
                let locked = folder.lock()?;
                let (finding, well) = judged(&lease, &locked.read()?);
                if !well && !matches!(finding, Finding::Taken(_)) {
                    locked.write(&lease.key, &wire::format_attrs(&lease.attrs))?;
                }
                Ok(finding)
            })
            .await
    }

    async fn secure(
        &self,
        standing: &watch::Sender<Holding>,
        fight: &mut Fight,
    ) -> Result<Option<Dual<IpAddr>>, StoreError> {
        let (mut finding, well) = self.look().await?;
        if finding == Finding::Gone {
            say_lost(
                standing,
                format!("the file of lease {} is gone", self.lease.key),
            );
        }
        if !well {
            fight.pause().await;
            finding = self.repair().await?;
        }
        Ok(match finding {
            Finding::Taken(by) => Some(by),
            _ => None,
        })
    }
}

impl Held for FileHeld {
    fn lease(&self) -> &Lease {
        &self.lease
    }

    async fn keep(self, standing: watch::Sender<Holding>) -> Ended {
        let mut changes = Changes::new(&self.gate, self.reread);
        let mut fight = Fight::default();
        let mut last_answer = Instant::now();
        loop {
            let armed = changes.arm().await;
            let secured = self.secure(&standing, &mut fight).await;
            if secured.is_ok() {
                last_answer = Instant::now();
            }
            match secured {
                Ok(None) => say(&standing, Holding::Held),
                Ok(Some(by)) => {
                    say(&standing, Holding::Taken { by });
                    return Ended::Taken(by);
                }
                Err(error) => say_unsure(&standing, error, last_answer),
            }
            changes.next(armed).await;
        }
    }
}

fn judged(lease: &Lease, content: &Content) -> (Finding, bool) {
    let finding = find(lease, &content.leases(), &content.unreadable, |_| false);
    let text = wire::format_attrs(&lease.attrs);
    let written = content
        .texts
        .get(&lease.key)
        .is_some_and(|found| found == text.as_bytes());
    let well = finding == Finding::Ours && written;
    (finding, well)
}
