//! The show, act by act. A new sidecar adds its act to [`ACTS`].

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::DeleteParams;

use super::stage::Stage;
use super::table::{Row, Table};

/// How long an act may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One thing that happens.
struct Act {
    title: &'static str,
    /// The sidecar that it is about: without it the act is left out.
    sidecar: &'static str,
    /// What the user does.
    begin: Begin,
    /// What is to come of it.
    ends: fn(&Row) -> bool,
}

enum Begin {
    /// Applies the stage's class and this claim of it.
    Claim(&'static str),
    /// Applies this manifest.
    Apply(&'static str),
    /// Deletes the pod.
    DeletePod,
    /// Deletes the claim.
    DeleteClaim,
}

/// Everything that this release can show, in its order.
const ACTS: &[Act] = &[
    Act {
        title: "a claim gets its volume",
        sidecar: "csi-provisioner",
        begin: Begin::Claim(include_str!("../../../manifests/examples/claim.yaml")),
        ends: |row| row.claim == "Bound" && row.volume_phase == "Bound" && row.kept == 1,
    },
    Act {
        title: "a pod uses it: it is attached to the node",
        sidecar: "csi-attacher",
        begin: Begin::Apply(include_str!("../../../manifests/examples/pod.yaml")),
        ends: |row| row.attachment == "true",
    },
    Act {
        title: "the pod goes: it is detached",
        sidecar: "csi-attacher",
        begin: Begin::DeletePod,
        ends: |row| row.attachment.is_empty(),
    },
    Act {
        title: "the claim goes, the volume with it",
        sidecar: "csi-provisioner",
        begin: Begin::DeleteClaim,
        ends: |row| row.claim.is_empty() && row.volume.is_empty() && row.kept == 0,
    },
];

/// Plays all acts whose sidecar is there.
pub(crate) async fn play(stage: &mut Stage) -> Result<()> {
    let mut table = Table::new(stage.volumes_are());
    let (played, left_out): (Vec<&Act>, Vec<&Act>) = ACTS.iter().partition(|act| stage.has(act.sidecar));
    for act in played {
        table.title(act.title);
        begin(stage, &act.begin).await.context(act.title)?;
        follow(stage, act, &mut table).await.context(act.title)?;
    }
    table.end();
    for act in left_out {
        println!("not in this release: {} ({})", act.title, act.sidecar);
    }
    Ok(())
}

async fn begin(stage: &Stage, begin: &Begin) -> Result<()> {
    let client = stage.ground.client()?;
    match begin {
        Begin::Claim(claim) => {
            stage.ground.apply(&stage.class(), &stage.namespace).await?;
            stage.ground.apply(claim, &stage.namespace).await?;
        }
        Begin::Apply(manifest) => stage.ground.apply(manifest, &stage.namespace).await?,
        Begin::DeletePod => {
            let pods: Api<Pod> = Api::namespaced(client, &stage.namespace);
            // No kubelet will confirm that it stopped.
            pods.delete("reader", &DeleteParams::default().grace_period(0)).await?;
        }
        Begin::DeleteClaim => {
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, &stage.namespace);
            claims.delete("data", &DeleteParams::default()).await?;
        }
    }
    Ok(())
}

/// Shows what changes until the act has ended.
async fn follow(stage: &mut Stage, act: &Act, table: &mut Table) -> Result<()> {
    let client = stage.ground.client()?;
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let row = Row::look(&client, stage).await?;
        table.show(&row);
        if (act.ends)(&row) {
            return Ok(());
        }
        stage.check()?;
        if std::time::Instant::now() > end {
            anyhow::bail!("still not so after {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
