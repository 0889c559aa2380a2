//! The live table: one line that changes on a terminal, one line per change elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use anyhow::Result;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::ListParams;

use super::stage::Stage;

/// What there is at a moment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The claim's phase; empty when there is none.
    pub(crate) claim: String,
    /// The volume's name; empty when there is none.
    pub(crate) volume: String,
    /// The volume's phase.
    pub(crate) volume_phase: String,
    /// `true` or `false` as the attachment has it; empty when there is none.
    pub(crate) attachment: String,
    /// How many volumes the driver keeps.
    pub(crate) kept: usize,
}

impl Row {
    /// Asks the API server and looks where the driver keeps its volumes.
    pub(crate) async fn look(client: &kube::Client, stage: &Stage) -> Result<Row> {
        let everything = ListParams::default();
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &stage.namespace);
        let claim = claims.get_opt("data").await?;
        let volumes = Api::<PersistentVolume>::all(client.clone()).list(&everything).await?;
        let ours = |volume: &PersistentVolume| {
            volume
                .spec
                .as_ref()
                .and_then(|spec| spec.csi.as_ref())
                .is_some_and(|csi| csi.driver == stage.driver())
        };
        let volume = volumes.items.into_iter().find(ours).unwrap_or_default();
        let attachments = Api::<VolumeAttachment>::all(client.clone()).list(&everything).await?;
        let attached =
            |attachment: &VolumeAttachment| attachment.status.as_ref().is_some_and(|status| status.attached);
        Ok(Row {
            claim: claim.and_then(|claim| claim.status?.phase).unwrap_or_default(),
            volume: volume.metadata.name.unwrap_or_default(),
            volume_phase: volume.status.and_then(|status| status.phase).unwrap_or_default(),
            attachment: attachments.items.first().map(|one| attached(one).to_string()).unwrap_or_default(),
            kept: stage.kept()?,
        })
    }

    fn text(&self) -> String {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        // A name is a prefix and a uid: its first letters tell it apart here.
        let volume: String = self.volume.chars().take(16).collect();
        format!(
            "{:<9} {:<17} {:<10} {:<9} {}",
            or_dash(&self.claim),
            or_dash(&volume),
            or_dash(&self.volume_phase),
            or_dash(&self.attachment),
            self.kept
        )
    }
}

/// What is on the screen.
pub(crate) struct Table {
    started: Instant,
    last: Option<Row>,
    terminal: bool,
}

impl Table {
    /// Begins with its head; `kept` is what the driver keeps.
    pub(crate) fn new(kept: &str) -> Table {
        println!("\n  time  {:<9} {:<17} {:<10} {:<9} {kept}", "claim", "volume", "phase", "attached");
        Table { started: Instant::now(), last: None, terminal: std::io::stdout().is_terminal() }
    }

    /// A new act begins; what is shown stays.
    pub(crate) fn title(&mut self, title: &str) {
        self.end();
        println!("{title}");
    }

    /// Shows the row if it is another than the last one; on a terminal the clock goes on in any case.
    pub(crate) fn show(&mut self, row: &Row) {
        let changed = self.last.as_ref() != Some(row);
        let line = format!("{:5.1} s {}", self.started.elapsed().as_secs_f32(), row.text());
        if changed && self.terminal && self.last.is_some() {
            println!();
        }
        if self.terminal {
            print!("\r\x1b[2K{line}");
            // A line that cannot be shown must not stop the show.
            let _ = std::io::stdout().flush();
        } else if changed {
            println!("{line}");
        }
        if changed {
            self.last = Some(row.clone());
        }
    }

    /// Ends the line that changes.
    pub(crate) fn end(&mut self) {
        if self.terminal && self.last.is_some() {
            println!();
        }
        self.last = None;
    }
}
