//! Volumes of an in-tree plugin that a CSI driver has replaced (docs/upstream/migration.md).

use csi::v1::ControllerExpandVolumeRequest;
use serde_json::{Value, json};
use sim::objects::with;

use crate::harness::{MARKED, RESIZER, asking};

const DRIVER: &str = "pd.csi.storage.gke.io";

/// A claim with an in-tree volume; `migrated` says whether the volume tells it.
fn objects(resizer: &str, migrated: bool) -> [Value; 2] {
    let [claim, volume] = asking("2Gi");
    let claim =
        with(claim, json!({"metadata": {"annotations": {"volume.kubernetes.io/storage-resizer": resizer}}}));
    let source = json!({"spec": {"csi": null, "gcePersistentDisk": {"pdName": "disk"}}});
    let labels = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "z1"}}});
    let volume = with(with(volume, source), labels);
    let told = json!({"metadata": {"annotations": {"pv.kubernetes.io/migrated-to": DRIVER}}});
    [claim, if migrated { with(volume, told) } else { volume }]
}

fn name_driver(config: &mut resizer::Config) {
    config.driver = DRIVER.into();
}

#[tokio::test(start_paused = true)]
async fn migrated_volume_is_translated_for_the_call() {
    for migrated in [true, false] {
        let case = RESIZER.case("migrated", objects(DRIVER, migrated)).config(name_driver);
        let case = case.driver("ControllerExpandVolume", [sim::Reply::error(tonic::Code::OutOfRange, "no")]);
        let world = case
            .ends_with(
                &["expand projects/UNSPECIFIED/zones/z1/disks/disk to 2Gi OutOfRange"],
                &[MARKED, "state ControllerResizeInfeasible +ControllerResizeError"],
            )
            .await;
        let call = world.driver.calls_of("ControllerExpandVolume").remove(0);
        assert!(call.request::<ControllerExpandVolumeRequest>().unwrap().volume_capability.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn in_tree_volume_of_another_resizer_is_left_alone() {
    RESIZER.case("another driver", objects("other", true)).config(name_driver).ends_with(&[], &[]).await;
    RESIZER.case("no plugin is replaced", objects("driver.example", false)).ends_with(&[], &[]).await;
}
