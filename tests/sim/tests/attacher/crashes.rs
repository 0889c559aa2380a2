//! Crash anywhere, lose any reply, refuse any request: the world ends as if nothing had happened.

use std::time::Duration;

use base::leadership::Leadership;
use serde_json::json;
use sim::crash::{self, Scenario};
use sim::{Fault, Publication, Reply, Settings, World};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::forced::force_away;
use crate::harness::{ATTACHER, LIMIT, config, give, sidecar};
use crate::objects::{
    DRIVER, FINALIZER, VA, csi_node, inline, ours, protected, pv, secret, va, with, with_secret_ref,
};

fn begin(world: &World) {
    give(world, &["pv1", "inline"]);
    let volume = with_secret_ref(with(pv("pv1"), json!({"metadata": {"finalizers": ["example.com/a"]}})));
    for object in [volume, csi_node("node1"), secret(json!({"user": "YWRtaW4="}))] {
        world.api.put(object);
    }
}

async fn attached(world: &World, name: &str) {
    let name = name.to_owned();
    let attached = world.api.until("the attachment to be attached", LIMIT, move |api| {
        let attachment = api.get("volumeattachments", &name)?;
        (attachment.pointer("/status/attached")? == true).then_some(())
    });
    attached.await;
}

async fn gone(world: &World) {
    let gone = world
        .api
        .until("the attachments to go", LIMIT, |api| (api.count("volumeattachments") == 0).then_some(()));
    gone.await;
}

/// Our finalizer on any object.
fn finalizers(world: &World) -> Vec<String> {
    let objects = ["volumeattachments", "persistentvolumes"].map(|plural| world.api.list(plural));
    let ours = objects
        .iter()
        .flatten()
        .filter(|object| object["metadata"].to_string().contains(&format!("\"{FINALIZER}\"")));
    let names = ours.filter_map(|object| object["metadata"]["name"].as_str());
    names.map(str::to_owned).collect()
}

/// Attached, and left so.
pub(crate) fn attach() -> Scenario {
    Scenario::new(sidecar, |world: World| async move {
        world.api.put(va());
        attached(&world, VA).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .prepare(begin)
    .check(|world| {
        let published = world.driver.publications();
        if published.len() == 1 { Ok(()) } else { Err(format!("published: {published:?}")) }
    })
}

/// Attached, detached, and the volume deleted: nothing of ours is left.
pub(crate) fn life() -> Scenario {
    Scenario::new(sidecar, |world: World| async move {
        world.api.put(va());
        world.api.put(with(inline(), json!({"metadata": {"name": "va2"}})));
        attached(&world, VA).await;
        attached(&world, "va2").await;
        world.api.delete("persistentvolumes", "pv1");
        world.api.delete("volumeattachments", VA);
        world.api.delete("volumeattachments", "va2");
        gone(&world).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
    })
    .prepare(begin)
    .check(|world| match (world.driver.publications(), finalizers(world)) {
        (published, left) if published.is_empty() && left.is_empty() => Ok(()),
        (published, left) => Err(format!("still published: {published:?}; finalizers on: {left:?}")),
    })
}

/// As `life`, with another's finalizer on the attachment: its status tells that it is detached.
pub(crate) fn held() -> Scenario {
    Scenario::new(sidecar, |world: World| async move {
        world.api.put(with(va(), json!({"metadata": {"finalizers": ["example.com/a"]}})));
        attached(&world, VA).await;
        world.api.delete("volumeattachments", VA);
        let detached = world.api.until("the attachment to be detached", LIMIT, |api| {
            let attachment = api.get("volumeattachments", VA)?;
            (attachment.pointer("/status/attached")? == false).then_some(())
        });
        detached.await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .prepare(begin)
    .check(|world| {
        let published = world.driver.publications();
        if published.is_empty() { Ok(()) } else { Err(format!("still published: {published:?}")) }
    })
}

/// The volume and the node are gone before the detach.
pub(crate) fn orphan() -> Scenario {
    Scenario::new(sidecar, |world: World| async move {
        world.api.put(va());
        attached(&world, VA).await;
        world.api.edit("persistentvolumes", "pv1", |object| object["metadata"]["finalizers"] = json!([]));
        world.api.delete("persistentvolumes", "pv1");
        world
            .api
            .edit_if_there("persistentvolumes", "pv1", |object| object["metadata"]["finalizers"] = json!([]));
        world.api.delete("csinodes", "node1");
        world.api.delete("volumeattachments", VA);
        gone(&world).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .prepare(begin)
    .check(|world| {
        let published = world.driver.publications();
        if published.is_empty() { Ok(()) } else { Err(format!("still published: {published:?}")) }
    })
}

/// A deleted attachment that only the driver's list says is published.
pub(crate) fn listed() -> Scenario {
    Scenario::new(comparing, |world: World| async move {
        let driver = world.driver.clone();
        let withdrawn = world.api.until("the volume to be withdrawn", LIMIT, move |_| {
            driver.publications().is_empty().then_some(())
        });
        withdrawn.await;
        tokio::time::sleep(Duration::from_secs(150)).await;
    })
    .driver(that_lists())
    .prepare(|world| {
        begin(world);
        world.api.put(protected("pv1"));
        let left = json!({"metadata": {"finalizers": ["example.com/a"]}, "status": {"attached": false}});
        world.api.put(with(ours(va()), left));
        world.api.delete("volumeattachments", VA);
        world.driver.change_model(|model| {
            let publication = Publication { readonly: false, capability: None };
            let volume = model.volumes.get_mut("id-of-pv1").expect("a volume");
            volume.published.insert("node1-id".to_owned(), publication);
        });
    })
    .check(|world| {
        let published = world.driver.publications();
        if published.is_empty() { Ok(()) } else { Err(format!("still published: {published:?}")) }
    })
}

fn that_lists() -> Settings {
    use csi::v1::controller_service_capability::rpc::Type;
    let mut settings = Settings::default();
    settings.controller.extend([Type::ListVolumes, Type::ListVolumesPublishedNodes]);
    settings
}

/// The sidecar of a driver that lists its volumes, here one at a time.
async fn comparing(world: World) {
    let mut config = config();
    config.can.lists_nodes = true;
    config.max_entries = 1;
    ATTACHER.live(world, config, Leadership::always(), CancellationToken::new()).await;
}

/// An attachment that the driver's list contradicts.
pub(crate) fn contradicted() -> Scenario {
    Scenario::new(comparing, |world: World| async move {
        let published = world.api.until("the volume to be published again", LIMIT, {
            let driver = world.driver.clone();
            move |_| (driver.publications().len() == 1).then_some(())
        });
        published.await;
        tokio::time::sleep(Duration::from_secs(150)).await;
    })
    .driver(that_lists())
    .prepare(|world| {
        begin(world);
        world.api.put(protected("pv1"));
        let metadata = json!({"device": "id-of-pv1-on-node1-id"});
        world.api.put(with(ours(va()), json!({"status": {"attachmentMetadata": metadata}})));
    })
}

/// Forced away while it is being published.
pub(crate) fn forced() -> Scenario {
    Scenario::new(sidecar, |world: World| async move {
        world.api.put(va());
        let driver = world.driver.clone();
        let called = world.api.until("a call", LIMIT, move |_| {
            (!driver.calls_of("ControllerPublishVolume").is_empty()).then_some(())
        });
        called.await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        force_away(&world, VA);
        tokio::time::sleep(Duration::from_secs(600)).await;
    })
    .prepare(|world| {
        begin(world);
        world.driver.always("ControllerPublishVolume", Reply::Ok.after(Duration::from_secs(5)));
    })
    .check(|world| {
        let published = world.driver.publications();
        if published.is_empty() { Ok(()) } else { Err(format!("still published: {published:?}")) }
    })
}

/// Deleted so long after it was made: before our finalizer holds it, it is really gone.
pub(crate) fn hasty(after: Duration) -> Scenario {
    Scenario::new(sidecar, move |world: World| async move {
        world.api.put(va());
        tokio::time::sleep(after).await;
        world.api.delete("volumeattachments", VA);
        world.api.delete("persistentvolumes", "pv1");
        gone(&world).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
    })
    .prepare(begin)
    .check(|world| match (world.driver.publications(), finalizers(world)) {
        (published, left) if published.is_empty() && left.is_empty() => Ok(()),
        (published, left) => Err(format!("still published: {published:?}; finalizers on: {left:?}")),
    })
}

const FAULTS: [Fault; 7] = [
    Fault::LoseReply,
    Fault::ApiError(500),
    Fault::ApiError(429),
    Fault::Conflict,
    Fault::Rpc(Code::Unavailable),
    Fault::Rpc(Code::Internal),
    Fault::Delay(Duration::from_secs(30)),
];

#[test]
fn a_crash_anywhere_in_attaching_ends_with_one_publication() {
    let report = crash::everywhere(&attach());
    assert!(report.steps.iter().any(|step| step.is_rpc("ControllerPublishVolume")));
    assert!(report.fired >= 2 * report.steps.len());
    assert_eq!(DRIVER, "driver.example");
}

#[test]
fn a_crash_anywhere_in_an_attachment_s_life_leaves_nothing() {
    let report = crash::everywhere(&life());
    assert!(report.steps.iter().any(|step| step.is_rpc("ControllerUnpublishVolume")));
    assert!(report.fired >= 2 * report.steps.len());
}

#[test]
fn crash_leaves_nothing_of_an_attachment_deleted_at_once() {
    let published = |after: u64| {
        let report = crash::everywhere(&hasty(Duration::from_millis(after)));
        assert!(report.fired >= 2 * report.steps.len());
        report.steps.iter().any(|step| step.is_rpc("ControllerPublishVolume"))
    };
    let went_so_far: Vec<bool> = (0..14).map(published).collect();
    assert!(went_so_far.contains(&true) && went_so_far.contains(&false), "{went_so_far:?}");
}

#[test]
fn crash_leaves_a_true_status_under_foreign_finalizers() {
    crash::everywhere(&held());
}

#[test]
fn crash_leaves_nothing_after_volume_and_node_are_gone() {
    crash::everywhere(&orphan());
}

#[test]
fn crash_in_a_comparison_ends_as_the_attachments_say() {
    for (scenario, rpc) in
        [(contradicted(), "ControllerPublishVolume"), (listed(), "ControllerUnpublishVolume")]
    {
        let report = crash::everywhere(&scenario);
        assert!(report.steps.iter().any(|step| step.is_rpc("ListVolumes")));
        assert!(report.steps.iter().any(|step| step.is_rpc(rpc)));
    }
}

#[test]
fn any_lost_reply_refusal_conflict_or_delay_is_survived() {
    crash::at_each_step(&life(), &FAULTS);
    crash::at_each_step(&held(), &FAULTS);
}

/// A crash between the call and the withdrawal is another matter: nothing is left that could tell of it.
#[test]
fn faults_leave_nothing_of_an_attachment_removed_by_force() {
    let report = crash::at_each_step(&forced(), &FAULTS);
    assert!(report.steps.iter().any(|step| step.is_rpc("ControllerUnpublishVolume")));
}

#[test]
fn faults_in_a_comparison_are_survived() {
    crash::at_each_step(&contradicted(), &FAULTS);
    crash::at_each_step(&listed(), &FAULTS);
}
