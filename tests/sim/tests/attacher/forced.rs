//! Attachments that a user forces away, without their detach, while their volume is being published.

use std::time::Duration;

use attacher::Config;
use base::leadership::Leadership;
use csi::v1::ControllerUnpublishVolumeRequest;
use serde_json::{Value, json};
use sim::{Reply, Running, World};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::harness::{ATTACHER, calls, config, seconds, world_with, writes};
use crate::objects::{VA, attachment, csi_node, inline, ours, protected, secret, va, with, with_secret_ref};

const PUBLISHED: &str = "publish id-of-pv1 node1-id Ok";
const WITHDRAWN: &str = "unpublish id-of-pv1 node1-id Ok";
const PUBLISH: &str = "ControllerPublishVolume";
const UNPUBLISH: &str = "ControllerUnpublishVolume";

/// A world in which the first publication takes five seconds.
fn slow(objects: impl IntoIterator<Item = Value>) -> World {
    answering(Reply::Ok.after(Duration::from_secs(5)), objects)
}

/// A world in which the first publication is answered so.
fn answering(reply: Reply, objects: impl IntoIterator<Item = Value>) -> World {
    let world = world_with(&["pv1"]);
    world.driver.script(PUBLISH, [reply]);
    for object in [protected("pv1"), csi_node("node1"), va()].into_iter().chain(objects) {
        world.api.put(object);
    }
    world
}

fn run(world: &World) -> Running {
    run_with(world, |_| {})
}

fn run_with(world: &World, change: impl Fn(&mut Config) + Send + Sync + 'static) -> Running {
    ATTACHER.run(world, |config| {
        config.resync = Duration::ZERO;
        change(config);
    })
}

/// Takes every finalizer off the attachment and deletes it.
pub(crate) fn force_away(world: &World, name: &str) {
    world.api.edit("volumeattachments", name, |object| object["metadata"]["finalizers"] = json!([]));
    world.api.delete("volumeattachments", name);
}

fn published(world: &World) -> usize {
    assert_eq!(world.driver.overlaps(), Vec::<String>::new());
    world.driver.publications().len()
}

#[tokio::test(start_paused = true)]
async fn publication_is_withdrawn_when_its_attachment_is_gone() {
    for delay in [0, 500] {
        let world = slow([]);
        world.api.delay_watch(Duration::from_millis(delay));
        let _running = run(&world);
        sleep(Duration::from_secs(2)).await;
        force_away(&world, VA);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(calls(&world), ["publish id-of-pv1 node1-id unanswered"]);
        sleep(Duration::from_secs(600)).await;
        assert_eq!(calls(&world), [PUBLISHED, WITHDRAWN], "watch {delay} ms behind");
        assert_eq!(writes(&world), ["save", "attached (404)"], "watch {delay} ms behind");
        assert_eq!(published(&world), 0);
    }
}

/// The API server says that it is gone long before the watch does.
#[tokio::test(start_paused = true)]
async fn a_late_watch_does_not_make_the_attachment_stand_for_itself() {
    let world = slow([]);
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    world.api.delay_watch(Duration::from_secs(20));
    force_away(&world, VA);
    sleep(Duration::from_secs(4)).await;
    assert_eq!((calls(&world), published(&world)), (vec![PUBLISHED.to_owned(), WITHDRAWN.to_owned()], 0));
    sleep(Duration::from_secs(600)).await;
    assert_eq!((calls(&world).len(), published(&world)), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn it_is_withdrawn_with_the_secrets_it_was_published_with() {
    let world = slow([with_secret_ref(protected("pv1")), secret(json!({"user": "YWRtaW4="}))]);
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    force_away(&world, VA);
    // Nothing but what was published counts.
    world.api.edit("persistentvolumes", "pv1", |object| object["metadata"]["finalizers"] = json!([]));
    world.api.delete("persistentvolumes", "pv1");
    world.api.delete("csinodes", "node1");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&world), [PUBLISHED, WITHDRAWN]);
    let call = world.driver.calls_of(UNPUBLISH).pop().unwrap();
    let request: &ControllerUnpublishVolumeRequest = call.request().unwrap();
    assert_eq!(serde_json::to_value(&request.secrets).unwrap(), json!({"user": "admin"}));
}

#[tokio::test(start_paused = true)]
async fn an_open_answer_is_withdrawn_too_and_a_refusal_is_not() {
    for (reply, answer, withdrawn) in [
        (Reply::Hang, "unanswered", Some(15)),
        (Reply::error(Code::Aborted, "pending").after(Duration::from_secs(5)), "Aborted", Some(5)),
        (Reply::error(Code::Unavailable, "away").after(Duration::from_secs(5)), "Unavailable", Some(5)),
        (Reply::error(Code::Internal, "no").after(Duration::from_secs(5)), "Internal", None),
    ] {
        let (world, start) = (answering(reply, []), Instant::now());
        let _running = run(&world);
        sleep(Duration::from_secs(2)).await;
        force_away(&world, VA);
        sleep(Duration::from_secs(600)).await;
        let expected = [format!("publish id-of-pv1 node1-id {answer}"), WITHDRAWN.to_owned()];
        assert_eq!(calls(&world), expected[..1 + usize::from(withdrawn.is_some())], "{answer}");
        let at_once = std::iter::once(0).chain(withdrawn).collect::<Vec<_>>();
        assert_eq!(seconds(&world, start), at_once, "{answer}");
        assert_eq!(writes(&world), ["save"], "{answer}");
    }
}

/// Open answers, and then the attachment goes between two tries; a refusal in between closes nothing.
#[tokio::test(start_paused = true)]
async fn open_call_is_withdrawn_if_attachment_goes_in_back_off() {
    let world = answering(Reply::error(Code::DeadlineExceeded, "late"), []);
    world.driver.script(PUBLISH, [Reply::error(Code::Internal, "no")]);
    let _running = run_with(&world, |config| config.backoff.base = Duration::from_secs(20));
    sleep(Duration::from_secs(25)).await;
    assert_eq!(calls(&world).len(), 2);
    // Both at once: nothing is seen in between.
    world.api.edit_if_there("volumeattachments", VA, |object| {
        object["metadata"]["finalizers"] = json!([]);
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    sleep(Duration::from_secs(300)).await;
    let first = ["publish id-of-pv1 node1-id DeadlineExceeded", "publish id-of-pv1 node1-id Internal"];
    assert_eq!(calls(&world), [first[0], first[1], WITHDRAWN]);
}

#[tokio::test(start_paused = true)]
async fn open_call_is_withdrawn_once_after_an_orderly_deletion() {
    for reply in
        [Reply::Hang, Reply::error(Code::Aborted, "pending"), Reply::Ok.after(Duration::from_secs(5))]
    {
        let world = answering(reply, []);
        let _running = run(&world);
        sleep(Duration::from_millis(500)).await;
        world.api.delete("volumeattachments", VA);
        sleep(Duration::from_secs(600)).await;
        assert_eq!(calls(&world)[1..], [WITHDRAWN]);
        assert_eq!((world.api.count("volumeattachments"), published(&world)), (0, 0));
    }
}

/// Another's finalizer holds it: it is there, and asks for no detach.
#[tokio::test(start_paused = true)]
async fn deleted_attachment_without_our_finalizer_counts_as_gone() {
    let held = with(va(), json!({"metadata": {"finalizers": ["example.com/a"]}}));
    let world = answering(Reply::Hang, [held]);
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    world.api.delete("volumeattachments", VA);
    world.api.edit("volumeattachments", VA, |object| {
        object["metadata"]["finalizers"] = json!(["example.com/a"]);
    });
    sleep(Duration::from_secs(300)).await;
    assert_eq!(calls(&world), ["publish id-of-pv1 node1-id unanswered", WITHDRAWN]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_withdrawal_is_repeated_until_it_succeeds() {
    let world = slow([]);
    let errors = [Code::Internal, Code::NotFound, Code::Unavailable].map(|code| Reply::error(code, "no"));
    world.driver.script(UNPUBLISH, errors);
    let start = Instant::now();
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    force_away(&world, VA);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(seconds(&world, start), [0, 5, 6, 8, 12]);
    let unpublish = |code: &str| format!("unpublish id-of-pv1 node1-id {code}");
    let tries = ["Internal", "NotFound", "Unavailable", "Ok"].map(unpublish);
    assert_eq!(calls(&world)[1..], tries);
    assert_eq!((writes(&world).len(), published(&world)), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_attachment_made_anew_waits_for_the_end_of_the_withdrawal() {
    let world = slow([]);
    world.driver.script(UNPUBLISH, [Reply::Ok.after(Duration::from_secs(5))]);
    let start = Instant::now();
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    force_away(&world, VA);
    sleep(Duration::from_secs(5)).await;
    world.api.put(va());
    sleep(Duration::from_secs(600)).await;
    assert_eq!(calls(&world), [PUBLISHED, WITHDRAWN, PUBLISHED]);
    assert_eq!((seconds(&world, start), published(&world)), (vec![0, 5, 10], 1));
    assert_eq!(world.api.get("volumeattachments", VA).unwrap()["status"]["attached"], true);
}

#[tokio::test(start_paused = true)]
async fn attachment_recreated_between_tries_keeps_the_volume() {
    let world = slow([]);
    world.driver.script(UNPUBLISH, [Reply::error(Code::Internal, "no")]);
    let _running = run_with(&world, |config| config.backoff.base = Duration::from_secs(20));
    sleep(Duration::from_secs(2)).await;
    force_away(&world, VA);
    sleep(Duration::from_secs(8)).await;
    world.api.put(va());
    sleep(Duration::from_secs(600)).await;
    assert_eq!(calls(&world), [PUBLISHED, "unpublish id-of-pv1 node1-id Internal", PUBLISHED]);
    assert_eq!(published(&world), 1);
    // From here on it is an attachment like any other.
    world.api.delete("volumeattachments", VA);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(calls(&world)[3..], [WITHDRAWN]);
    assert_eq!((world.api.count("volumeattachments"), published(&world)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn second_attachment_of_volume_and_node_keeps_it_published() {
    let other = with(ours(va()), json!({"metadata": {"name": "va2"}}));
    published_as_long_as_there_is(other, Duration::from_secs(600)).await;
}

/// The attachment is forced away; the volume stays published until `other`, called `va2`, is deleted too, and so long.
async fn published_as_long_as_there_is(other: Value, so_long: Duration) {
    let world = slow([other]);
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    force_away(&world, VA);
    sleep(Duration::from_secs(600)).await;
    assert_eq!((calls(&world), published(&world)), (vec![PUBLISHED.to_owned()], 1));
    world.api.delete("volumeattachments", "va2");
    sleep(so_long).await;
    assert_eq!((calls(&world), published(&world)), (vec![PUBLISHED.to_owned(), WITHDRAWN.to_owned()], 0));
}

/// Until it has our finalizer, its deletion would withdraw nothing.
#[tokio::test(start_paused = true)]
async fn attachment_that_never_publishes_does_not_leak_the_volume() {
    let handle = json!({"inlineVolumeSpec": {"csi": {"volumeHandle": sim::id_of("pv1")}}});
    let lacks_its_secret =
        with(with_secret_ref(inline()), json!({"metadata": {"name": "va2"}, "spec": {"source": handle}}));
    published_as_long_as_there_is(lacks_its_secret, Duration::from_secs(1)).await;
}

/// Whatever else happens on the node: only its own back-off decides when a failed withdrawal is repeated.
#[tokio::test(start_paused = true)]
async fn other_attachments_do_not_hurry_a_failed_withdrawal() {
    let other = json!({"metadata": {"name": "va2"}, "spec": {"source": {"persistentVolumeName": "other"}}});
    let world = slow([with(va(), other)]);
    world.driver.script(UNPUBLISH, (0..100).map(|_| Reply::error(Code::Internal, "no")));
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    force_away(&world, VA);
    sleep(Duration::from_secs(100)).await;
    let before = calls(&world).len();
    for number in 0..20 {
        world.api.edit("volumeattachments", "va2", |object| {
            object["metadata"]["labels"] = json!({"n": number.to_string()})
        });
        sleep(Duration::from_millis(100)).await;
    }
    assert!(before > 3 && calls(&world).len() - before <= 1, "{before}, then {}", calls(&world).len());
}

#[tokio::test(start_paused = true)]
async fn attachments_elsewhere_do_not_prevent_a_withdrawal() {
    let elsewhere = with(
        ours(attachment("va2", "pv1", "node2")),
        json!({
            "metadata": {"annotations": {"csi.alpha.kubernetes.io/node-id": "node2-id"}},
        }),
    );
    let other = with(
        ours(attachment("va3", "pv2", "node1")),
        json!({
            "metadata": {"annotations": {"mooring.dev/volume-handle": "id-of-pv2"}},
        }),
    );
    let world = slow([elsewhere, other, csi_node("node2"), protected("pv2")]);
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    force_away(&world, VA);
    sleep(Duration::from_secs(600)).await;
    assert_eq!((calls(&world), published(&world)), (vec![PUBLISHED.to_owned(), WITHDRAWN.to_owned()], 0));
}

/// What was attached and written down is the user's, who took our finalizer off.
#[tokio::test(start_paused = true)]
async fn an_attached_attachment_that_is_forced_away_is_not_followed() {
    let world = answering(Reply::Ok, []);
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    force_away(&world, VA);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(
        (calls(&world), writes(&world)),
        (vec![PUBLISHED.to_owned()], vec!["save".to_owned(), "attached".to_owned()])
    );
    // Nothing is kept in mind that would hold back its volume.
    world.api.delete("persistentvolumes", "pv1");
    sleep(Duration::from_secs(1)).await;
    assert_eq!((calls(&world).len(), writes(&world)[2..].to_vec()), (1, vec!["release pv1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_that_keeps_failing_does_not_hold_up_the_end() {
    let world = slow([]);
    world.driver.always(UNPUBLISH, Reply::error(Code::Internal, "no"));
    let stop = CancellationToken::new();
    let ended = tokio::spawn(ATTACHER.live(world.clone(), config(), Leadership::always(), stop.clone()));
    sleep(Duration::from_secs(2)).await;
    force_away(&world, VA);
    sleep(Duration::from_secs(60)).await;
    let tried = calls(&world).len();
    assert!(tried > 4, "{tried}");
    stop.cancel();
    ended.await.unwrap();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(calls(&world).len(), tried);
}

/// Both while the call is under way and between the tries.
#[tokio::test(start_paused = true)]
async fn volume_is_released_only_after_its_withdrawal() {
    let late = || Reply::error(Code::Aborted, "late");
    for (answers, last) in [(vec![Reply::Ok.after(Duration::from_secs(5))], 36), (vec![late(), late()], 33)] {
        let world = world_with(&["pv1"]);
        [protected("pv1"), csi_node("node1"), va()]
            .into_iter()
            .for_each(|object| drop(world.api.put(object)));
        world.driver.script(PUBLISH, answers);
        world.driver.script(UNPUBLISH, (0..5).map(|_| Reply::error(Code::Internal, "no")));
        let (start, released) = (Instant::now(), "release pv1".to_owned());
        let _running = run(&world);
        sleep(Duration::from_secs(2)).await;
        world.api.delete("persistentvolumes", "pv1");
        force_away(&world, VA);
        sleep(Duration::from_secs(last - 2) - Duration::from_millis(100)).await;
        assert_eq!(calls(&world).last().unwrap(), "unpublish id-of-pv1 node1-id Internal");
        assert!(!writes(&world).contains(&released), "{:?}", writes(&world));
        sleep(Duration::from_millis(200)).await;
        assert_eq!((calls(&world).last().unwrap().as_str(), published(&world)), (WITHDRAWN, 0));
        assert_eq!((seconds(&world, start).pop(), writes(&world).pop()), (Some(last), Some(released)));
        let sent = (calls(&world).len(), writes(&world).len());
        sleep(Duration::from_secs(600)).await;
        assert_eq!((calls(&world).len(), writes(&world).len()), sent);
    }
}

/// A list that it is missing from is all that tells of it: nothing but the end of its call looks.
#[tokio::test(start_paused = true)]
async fn unseen_removal_is_withdrawn_at_the_end_of_the_call() {
    let late = Reply::error(Code::Aborted, "late").after(Duration::from_secs(5));
    let (world, start) = (answering(late, []), Instant::now());
    let _running = run_with(&world, |config| config.backoff.base = Duration::from_secs(20));
    sleep(Duration::from_secs(2)).await;
    let watch = |step: &sim::Step| step.is("watch", "volumeattachments");
    world.steps.on(watch, 1, sim::Fault::Delay(Duration::from_secs(1)));
    world.api.break_watches();
    force_away(&world, VA);
    world.api.expire_history();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(calls(&world), ["publish id-of-pv1 node1-id Aborted", WITHDRAWN]);
    assert_eq!((seconds(&world, start), published(&world)), (vec![0, 5], 0));
}
