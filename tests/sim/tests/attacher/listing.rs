//! Comparison with the driver's list (docs/upstream/attacher.md, "List comparison" and "Test cases").

use std::time::Duration;

use serde_json::json;
use sim::{Fault, Publication, Reply, World};
use tonic::Code;

use crate::harness::{ATTACHER, Case, calls, object, writes};
use crate::objects::{
    DRIVER, VA, attachment, csi_node, csi_node_with, inline, ours, protected, theirs, va, with,
};

const LISTED: &str = "ListVolumes Ok";
const PUBLISHED: &str = "publish id-of-pv1 node1-id Ok";
const WITHDRAWN: &str = "unpublish id-of-pv1 node1-id Ok";

fn listing(case: Case) -> Case {
    case.config(|config| config.can.lists_nodes = true)
        .config(|config| config.backoff.max = Duration::from_secs(3600))
}

fn publish(world: &World, volume: &str) {
    use csi::v1::volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode};
    let access_mode = Some(AccessMode { mode: Mode::SingleNodeWriter.into() });
    let access_type = Some(AccessType::Mount(MountVolume::default()));
    let capability = Some(csi::v1::VolumeCapability { access_mode, access_type });
    world.driver.change_model(|model| {
        let volume = model.volumes.get_mut(&sim::id_of(volume)).expect("a volume");
        volume.published.insert("node1-id".to_owned(), Publication { readonly: false, capability });
    });
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_not_listed_is_published_again() {
    let world =
        listing(ATTACHER.case("attached, not listed", [protected("pv1"), ours(va()), csi_node("node1")]))
            .ends_with(&[LISTED, PUBLISHED], &["attached"])
            .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&world), [LISTED, PUBLISHED, LISTED], "from then on they agree");
    assert_eq!(writes(&world), ["attached"], "the driver's metadata, which was not there");
}

#[tokio::test(start_paused = true)]
async fn agreement_leads_to_nothing() {
    let done =
        with(ours(va()), json!({"status": {"attachmentMetadata": {"device": "id-of-pv1-on-node1-id"}}}));
    let world = ATTACHER.case("attached and listed", [protected("pv1"), done, csi_node("node1")]);
    // Listed before the first comparison.
    let world = listing(world).config(|config| config.reconcile_sync = Duration::from_secs(7));
    let world = world.driver("ListVolumes", [Reply::error(Code::Unavailable, "not now")]);
    let world = world.meanwhile(|world| publish(world, "pv1"));
    let seven: Vec<&str> = std::iter::once("ListVolumes Unavailable").chain([LISTED; 6]).collect();
    world.ends_with(&seven, &[]).await;
    listing(ATTACHER.case("nothing attached", [protected("pv1")]))
        .meanwhile(|world| publish(world, "pv2"))
        .ends_with(&[LISTED], &[])
        .await;
}

#[tokio::test(start_paused = true)]
async fn volumes_listed_without_an_attachment_stay() {
    let world = listing(ATTACHER.case("listed", [protected("pv1")]))
        .config(|config| config.reconcile_sync = Duration::from_secs(10))
        .meanwhile(|world| publish(world, "pv1"))
        .ends_with(&[LISTED; 5], &[])
        .await;
    assert_eq!(world.driver.publications().len(), 1);
}

/// Neither finalizer nor status ask for it: only the list does.
#[tokio::test(start_paused = true)]
async fn a_deleted_attachment_that_is_still_listed_is_detached() {
    let left = with(
        theirs(va()),
        json!({"metadata": {"finalizers": ["example.com/a"]}, "status": {"attached": false}}),
    );
    let world =
        listing(ATTACHER.case("deleted, not attached, listed", [protected("pv1"), left, csi_node("node1")]))
            .deleted("volumeattachments", VA)
            .config(|config| config.reconcile_sync = Duration::from_secs(20))
            .meanwhile(|world| publish(world, "pv1"))
            .ends_with(&[LISTED, LISTED, WITHDRAWN, LISTED], &[])
            .await;
    assert!(world.driver.publications().is_empty());
}

/// The volume's id is in the note; it is the driver's own, also of one that has taken over an in-tree plugin.
#[tokio::test(start_paused = true)]
async fn an_attachment_whose_volume_is_gone_is_compared_by_its_note() {
    for driver in [DRIVER, "pd.csi.storage.gke.io"] {
        let entry = json!([{"name": driver, "nodeID": "node1-id", "topologyKeys": []}]);
        let left = json!({
            "metadata": {"finalizers": ["example.com/a"]},
            "spec": {"attacher": driver},
            "status": {"attached": false},
        });
        let objects = [with(ours(va()), left), csi_node_with("node1", entry)];
        let world = listing(ATTACHER.case("listed", objects))
            .deleted("volumeattachments", VA)
            .config(|config| config.driver = driver.into())
            .config(|config| config.reconcile_sync = Duration::from_secs(20))
            .meanwhile(|world| publish(world, "pv1"))
            .ends_with(&[LISTED, LISTED, WITHDRAWN, LISTED], &[])
            .await;
        assert!(world.driver.publications().is_empty(), "{driver}");
    }
}

/// The driver finished a call after we gave up: the list ends the back-off.
#[tokio::test(start_paused = true)]
async fn an_attachment_in_its_back_off_goes_on_when_it_is_listed() {
    let world = listing(ATTACHER.case("late", [protected("pv1"), va(), csi_node("node1")]))
        .config(|config| config.backoff.base = Duration::from_secs(3600))
        .config(|config| config.reconcile_sync = Duration::from_secs(20))
        .driver("ControllerPublishVolume", [Reply::error(Code::Internal, "lost")])
        .meanwhile(|world| publish(world, "pv1"))
        .ends_with(
            &[LISTED, "publish id-of-pv1 node1-id Internal", LISTED, PUBLISHED, LISTED],
            &["save", "attach error: rpc error: code = Internal desc = lost", "attached"],
        )
        .await;
    assert_eq!(object(&world, "volumeattachments", VA)["status"]["attached"], json!(true));
}

#[tokio::test(start_paused = true)]
async fn inline_volumes_are_compared_too() {
    let attached = with(
        theirs(inline()),
        json!({"status": {"attachmentMetadata": {"device": "id-of-inline-on-node1-id"}}}),
    );
    listing(ATTACHER.case("inline", [attached, csi_node("node1")]))
        .ends_with(&[LISTED, "publish id-of-inline node1-id Ok"], &[])
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_list_is_read_in_pages_and_half_a_list_says_nothing() {
    let all = || [protected("pv1"), ours(va()), csi_node("node1")];
    listing(ATTACHER.case("three pages", all()))
        .config(|config| config.max_entries = 1)
        .ends_with(&[LISTED, LISTED, LISTED, PUBLISHED], &["attached"])
        .await;
    listing(ATTACHER.case("second page fails", all()))
        .config(|config| config.max_entries = 1)
        .driver("ListVolumes", [Reply::Ok, Reply::error(Code::Aborted, "changed")])
        .ends_with(&[LISTED, "ListVolumes Aborted"], &[])
        .await;
    listing(ATTACHER.case("never answers", all()))
        .driver("ListVolumes", [Reply::Hang])
        .ends_with(&["ListVolumes unanswered"], &[])
        .await;
}

/// It had to wait for its turn.
#[tokio::test(start_paused = true)]
async fn a_newer_list_that_agrees_spares_the_call_that_has_not_begun() {
    let done =
        with(ours(va()), json!({"status": {"attachmentMetadata": {"device": "id-of-pv1-on-node1-id"}}}));
    let hung = attachment("va2", "pv2", "node1");
    let objects = [protected("pv1"), protected("pv2"), done, hung, csi_node("node1")];
    let late = "attach error: rpc error: code = DeadlineExceeded desc = context deadline exceeded";
    let (first, second) = ("publish id-of-pv2 node1-id unanswered", "publish id-of-pv2 node1-id Ok");
    listing(ATTACHER.case("waits for a hung one", objects))
        .config(|config| config.workers = 1)
        .config(|config| config.reconcile_sync = Duration::from_secs(7))
        .driver("ControllerPublishVolume", [Reply::Hang])
        .meanwhile(|world| publish(world, "pv1"))
        .ends_with(
            &[LISTED, first, LISTED, LISTED, second, LISTED, LISTED, LISTED, LISTED],
            &["save", late, "attached"],
        )
        .await;
}

/// The driver has published, and lists it; that is not written down yet.
#[tokio::test(start_paused = true)]
async fn what_is_worked_on_during_a_comparison_is_newer_than_the_list() {
    let world = listing(ATTACHER.case("slow status", [protected("pv1"), va(), csi_node("node1")]))
        .driver("ListVolumes", [Reply::Ok.after(Duration::from_secs(5))])
        .fault(|step| step.is("patch", "volumeattachments/status"), 1, Fault::Delay(Duration::from_secs(10)))
        .ends_with(&[LISTED, PUBLISHED], &["save", "attached"])
        .await;
    assert_eq!(world.driver.overlaps(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_forced_attach_that_fails_is_tried_again() {
    let refused = "attach error: rpc error: code = Internal desc = no";
    listing(ATTACHER.case("refused", [protected("pv1"), ours(va()), csi_node("node1")]))
        .driver("ControllerPublishVolume", [Reply::error(Code::Internal, "no")])
        .ends_with(&[LISTED, "publish id-of-pv1 node1-id Internal", PUBLISHED], &[refused, "attached"])
        .await;
    listing(ATTACHER.case("not written", [protected("pv1"), ours(va()), csi_node("node1")]))
        .fault(|step| step.is("patch", "volumeattachments/status"), 1, Fault::ApiError(500))
        .ends_with(&[LISTED, PUBLISHED, PUBLISHED], &["attached (500)", "attached"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn only_our_attachments_are_compared() {
    let foreign = with(
        attachment("va2", "pv1", "node1"),
        json!({"spec": {"attacher": "other"}, "status": {"attached": true}}),
    );
    let nowhere = with(attachment("va3", "pv3", "node9"), json!({"status": {"attached": true}}));
    listing(ATTACHER.case("foreign, and unknown", [protected("pv1"), foreign, nowhere, csi_node("node1")]))
        .ends_with(&[LISTED], &[])
        .await;
}
