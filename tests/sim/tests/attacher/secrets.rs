//! Secrets that are not there yet: looked for while somebody waits, and never else.

use std::time::Duration;

use base::leadership::Leadership;
use serde_json::{Value, json};
use sim::{Fault, Running, Step, World};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::harness::{ATTACHER, calls, config, object, world_with, writes};
use crate::objects::{
    VA, attachment, csi_node, inline, ours, protected, pv, secret, va, with, with_secret_ref,
};

const PUBLISHED: &str = "publish id-of-pv1 node1-id Ok";
const HOUR: Duration = Duration::from_secs(3600);
/// A round, and the few requests that follow.
const SOON: Duration = Duration::from_millis(2100);

/// The attacher with a first back-off of an hour: what comes earlier comes for another reason.
fn run(world: &World) -> Running {
    run_until(world, CancellationToken::new())
}

fn run_until(world: &World, stop: CancellationToken) -> Running {
    world.run(HOUR, move |world| {
        let mut config = config();
        (config.backoff.base, config.backoff.max, config.resync) = (HOUR, HOUR, Duration::ZERO);
        ATTACHER.live(world, config, Leadership::always(), stop.clone())
    })
}

fn world(objects: impl IntoIterator<Item = Value>) -> World {
    let world = world_with(&["pv1"]);
    for object in objects.into_iter().chain([csi_node("node1")]) {
        world.api.put(object);
    }
    world
}

/// Volume `name` that needs secret `secrets/NAME`, and its attachment of the same name.
fn with_own_secret(name: &str) -> [Value; 2] {
    let volume = with_secret_ref(protected(name));
    let place = json!({"spec": {"csi": {"controllerPublishSecretRef": {"name": name}}}});
    [with(volume, place), attachment(name, name, "node1")]
}

fn secret_called(name: &str) -> Value {
    with(secret(json!({})), json!({"metadata": {"name": name}}))
}

/// How often Secrets were asked for.
fn asked(world: &World) -> usize {
    let requests = world.api.requests();
    assert!(
        requests.iter().all(|request| request.resource != "secrets" || request.verb == "get"),
        "secrets are neither listed nor watched"
    );
    requests.iter().filter(|request| request.resource == "secrets").count()
}

async fn until_attached(world: &World, name: &str) -> Duration {
    let (start, name) = (Instant::now(), name.to_owned());
    let attached = world.api.until("the attachment to be attached", HOUR, move |api| {
        (api.get("volumeattachments", &name)?.pointer("/status/attached")? == true).then_some(())
    });
    attached.await;
    start.elapsed()
}

const MISSING: &str =
    "failed to load secret \"secrets/publish\": secrets \"publish\" not found in namespace secrets";

#[tokio::test(start_paused = true)]
async fn a_missing_secret_is_an_error_until_it_is_there() {
    let error = &*format!("attach error: {MISSING}");
    ATTACHER
        .case("volume", [with_secret_ref(pv("pv1")), va(), csi_node("node1")])
        .ends_with(&[], &["protect pv1", error])
        .await;
    ATTACHER.case("inline", [with_secret_ref(inline()), csi_node("node1")]).ends_with(&[], &[error]).await;
    let world = ATTACHER
        .case("it comes", [with_secret_ref(pv("pv1")), va(), csi_node("node1")])
        .meanwhile(|world| drop(world.api.put(secret(json!({"user": "YWRtaW4="})))))
        .ends_with(&[PUBLISHED], &["protect pv1", error, "save", "attached"])
        .await;
    assert_eq!(object(&world, "volumeattachments", VA)["status"].get("attachError"), None);
}

#[tokio::test(start_paused = true)]
async fn attach_continues_soon_after_its_secret_appears() {
    let world = world([with_secret_ref(pv("pv1")), va()]);
    let _running = run(&world);
    sleep(Duration::from_millis(10_500)).await;
    assert_eq!(asked(&world), 1 + 5, "the attempt, and a look every two seconds");
    world.api.put(secret(json!({"user": "YWRtaW4="})));
    let took = until_attached(&world, VA).await;
    assert!(took < SOON, "{took:?}");
    sleep(HOUR / 2).await;
    assert_eq!(calls(&world), ["publish id-of-pv1 node1-id Ok"]);
    assert_eq!(writes(&world), ["protect pv1", &format!("attach error: {MISSING}"), "save", "attached"]);
    assert_eq!(asked(&world), 6 + 2, "one that finds it, and the attempt; then nobody waits");
}

#[tokio::test(start_paused = true)]
async fn detach_continues_soon_after_its_secret_appears() {
    let note = json!({"metadata": {"annotations": {"mooring.dev/publish-secret": "secrets/publish"}}});
    let world = world([protected("pv1"), with(ours(va()), note)]);
    world.api.delete("volumeattachments", VA);
    let _running = run(&world);
    sleep(Duration::from_secs(60)).await;
    world.api.put(secret(json!({})));
    sleep(SOON).await;
    assert_eq!(world.api.get("volumeattachments", VA), None);
    sleep(HOUR / 2).await;
    assert_eq!(calls(&world), ["unpublish id-of-pv1 node1-id Ok"]);
    assert_eq!(writes(&world), [&format!("detach error: {MISSING}"), "unbind"]);
    assert_eq!(asked(&world), 1 + 30 + 1);
}

#[tokio::test(start_paused = true)]
async fn one_look_serves_all_who_wait_for_a_secret() {
    let world = world([]);
    let names: Vec<String> = (0..8).map(|number| format!("pv{number}")).collect();
    for name in &names {
        crate::harness::give(&world, &[name]);
        world.api.put(with_secret_ref(protected(name)));
        world.api.put(attachment(name, name, "node1"));
    }
    let _running = run(&world);
    sleep(Duration::from_millis(20_500)).await;
    assert_eq!(asked(&world), 8 + 10);
    world.api.put(secret(json!({})));
    sleep(SOON).await;
    for name in &names {
        let attachment = world.api.get("volumeattachments", name).unwrap();
        assert_eq!(attachment["status"]["attached"], true, "{name}");
    }
    assert_eq!((asked(&world), calls(&world).len()), (18 + 1 + 8, 8));
}

/// The first tries, at once and after a second, come before the first look.
#[tokio::test(start_paused = true)]
async fn many_attachments_share_the_polling_of_one_secret() {
    const MANY: usize = 300;
    let world = world([]);
    for number in 0..MANY {
        let name = format!("pv{number}");
        crate::harness::give(&world, &[&name]);
        world.api.put(with_secret_ref(protected(&name)));
        world.api.put(attachment(&name, &name, "node1"));
    }
    let _running = ATTACHER.run(&world, |_| ());
    sleep(Duration::from_millis(60_500)).await;
    assert_eq!(asked(&world), 2 * MANY + 30, "instead of six tries of each");
    world.api.put(secret(json!({})));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(asked(&world), 3 * MANY + 31, "one look finds it, and each reads it");
    let attached = |object: &Value| object["status"]["attached"] == true;
    assert!(world.api.list("volumeattachments").iter().all(attached));
    assert_eq!(calls(&world).len(), MANY);
}

#[tokio::test(start_paused = true)]
async fn many_missing_secrets_make_five_requests_a_second_and_no_more() {
    let world = world([]);
    for number in 0..30 {
        with_own_secret(&format!("pv{number}")).into_iter().for_each(|object| drop(world.api.put(object)));
    }
    let _running = run(&world);
    sleep(Duration::from_secs(60)).await;
    let looks = asked(&world) - 30;
    assert!((290..=300).contains(&looks), "{looks}");
    world.api.put(secret_called("pv1"));
    let took = until_attached(&world, "pv1").await;
    assert!(took < Duration::from_millis(6300), "thirty looks later: {took:?}");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&world), ["publish id-of-pv1 node1-id Ok"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_looks_for_a_secret_when_its_attachment_is_gone() {
    let world = world([with_secret_ref(protected("pv1")), va()]);
    let _running = run(&world);
    sleep(Duration::from_millis(4500)).await;
    assert_eq!(asked(&world), 3);
    world.api.delete("volumeattachments", VA);
    sleep(HOUR / 2).await;
    assert_eq!((asked(&world), calls(&world)), (3, Vec::new()));
    // It begins again with the next one who waits.
    world.api.put(va());
    sleep(Duration::from_millis(4500)).await;
    assert_eq!(asked(&world), 6);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_when_nobody_waits() {
    let attached = with(ours(va()), json!({"spec": {"source": {"persistentVolumeName": "pv1"}}}));
    let world = world([with_secret_ref(protected("pv1")), attached, attachment("va2", "nowhere", "node1")]);
    let _running = run(&world);
    sleep(HOUR / 2).await;
    assert_eq!((asked(&world), calls(&world)), (0, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_the_secret_and_holds_back_no_other() {
    let world = world(with_own_secret("pv1").into_iter().chain(with_own_secret("pv2")));
    let _running = run(&world);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(asked(&world), 2);
    let of = |name: &'static str| move |step: &Step| matches!(step, Step::Api { verb, object, .. } if verb == "get" && object == name);
    world.steps.on(of("secrets/pv2"), usize::MAX, Fault::ApiError(403));
    world.steps.on(of("secrets/pv1"), 1, Fault::ApiError(500));
    world.api.put(secret_called("pv1"));
    world.api.put(secret_called("pv2"));
    // The first look for either is refused.
    let took = until_attached(&world, "pv1").await;
    assert!(took < 2 * SOON, "{took:?}");
    sleep(Duration::from_secs(600)).await;
    assert_eq!(calls(&world), ["publish id-of-pv1 node1-id Ok"]);
}

/// It is there: nothing that could be looked at tells when it may be read.
#[tokio::test(start_paused = true)]
async fn a_secret_that_may_not_be_read_is_left_to_the_back_off() {
    let world = world([with_secret_ref(protected("pv1")), va(), secret(json!({}))]);
    world.steps.on(|step| step.is("get", "secrets"), usize::MAX, Fault::ApiError(403));
    let _running = run(&world);
    sleep(HOUR / 2).await;
    assert_eq!((asked(&world), calls(&world)), (1, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn one_look_at_a_time_and_none_once_the_process_is_to_stop() {
    let (world, stop) =
        (world(with_own_secret("pv1").into_iter().chain(with_own_secret("pv2"))), CancellationToken::new());
    let _running = run_until(&world, stop.clone());
    sleep(Duration::from_millis(500)).await;
    world.steps.on(|step| step.is("get", "secrets"), 1, Fault::Delay(Duration::from_secs(30)));
    sleep(Duration::from_secs(25)).await;
    assert_eq!(asked(&world), 2, "the first look is not answered yet");
    sleep(Duration::from_secs(20)).await;
    let looked = asked(&world);
    assert!(looked > 3, "{looked}");
    stop.cancel();
    sleep(HOUR / 2).await;
    assert_eq!(asked(&world), looked);
}
