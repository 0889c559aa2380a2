//! What can be done to watches, rights and resources, seen through kube's own watcher.

use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{PersistentVolume, Secret};
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttributesClass};
use kube::Api;
use kube::api::{ListParams, PartialObjectMeta, PostParams};
use kube::runtime::watcher::{self, Config, Event};
use serde_json::{Value, json};
use sim::{ApiServer, Fault, World};

fn class(name: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": { "name": name },
        "provisioner": "driver.example",
    })
}

type Names = Vec<String>;

/// What a watcher says, one word an event.
fn words(client: kube::Client, config: Config) -> impl Stream<Item = String> + Send + Unpin {
    let classes: Api<StorageClass> = Api::all(client);
    let name = |class: StorageClass| class.metadata.name.unwrap_or_default();
    let word = move |event: Result<Event<StorageClass>, watcher::Error>| match event {
        Ok(Event::Init) => "init".to_owned(),
        Ok(Event::InitApply(class)) => format!("init {}", name(class)),
        Ok(Event::InitDone) => "done".to_owned(),
        Ok(Event::Apply(class)) => format!("apply {}", name(class)),
        Ok(Event::Delete(class)) => format!("delete {}", name(class)),
        Err(watcher::Error::WatchError(status)) => format!("error {}", status.code),
        Err(_) => "error".to_owned(),
    };
    watcher::watcher(classes, config).map(word).boxed()
}

/// All that comes within ten virtual seconds.
async fn heard(stream: &mut (impl Stream<Item = String> + Unpin)) -> Names {
    let mut heard = Names::new();
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while let Ok(Some(word)) = tokio::time::timeout_at(end, stream.next()).await {
        heard.push(word);
    }
    heard
}

#[tokio::test(start_paused = true)]
async fn streams_lists_and_pages_come_to_the_same() {
    for config in [Config::default(), Config::default().page_size(1), Config::default().streaming_lists()] {
        let api = ApiServer::new();
        api.put(class("a"));
        api.put(class("b"));
        let mut stream = words(api.client("me"), config);
        assert_eq!(heard(&mut stream).await, ["init", "init a", "init b", "done"]);
        api.put(class("c"));
        api.delete("storageclasses", "a");
        assert_eq!(heard(&mut stream).await, ["apply c", "delete a"]);
        assert!(api.requests().iter().all(|request| request.status == 200), "{:?}", api.requests());
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_goes_on_where_it_was() {
    let api = ApiServer::new();
    let mut stream = words(api.client("me"), Config::default());
    assert_eq!(heard(&mut stream).await, ["init", "done"]);
    api.break_watches();
    api.put(class("a"));
    assert_eq!(heard(&mut stream).await, ["apply a"]);
    assert_eq!(api.requests().iter().filter(|request| request.verb == "list").count(), 1, "no second list");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_history_means_a_new_list() {
    let api = ApiServer::new();
    api.put(class("a"));
    let mut stream = words(api.client("me"), Config::default());
    assert_eq!(heard(&mut stream).await, ["init", "init a", "done"]);
    api.break_watches();
    api.put(class("b"));
    api.delete("storageclasses", "a");
    api.expire_history();
    let heard = heard(&mut stream).await;
    assert_eq!(heard, ["error 410", "init", "init b", "done"]);
}

#[tokio::test(start_paused = true)]
async fn events_come_twice_or_late() {
    let api = ApiServer::new();
    let mut stream = words(api.client("me"), Config::default());
    assert_eq!(heard(&mut stream).await, ["init", "done"]);
    api.duplicate_events(true);
    api.put(class("a"));
    assert_eq!(heard(&mut stream).await, ["apply a", "apply a"]);
    api.duplicate_events(false);
    api.delay_watch(Duration::from_secs(15));
    api.put(class("b"));
    assert_eq!(heard(&mut stream).await, [] as [&str; 0]);
    assert_eq!(heard(&mut stream).await, ["apply b"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_before_a_late_event_goes_on_with_it() {
    let api = ApiServer::new();
    let mut stream = words(api.client("me"), Config::default().timeout(5));
    assert_eq!(heard(&mut stream).await, ["init", "done"]);
    api.delay_watch(Duration::from_secs(15));
    api.put(class("a"));
    assert_eq!(heard(&mut stream).await, [] as [&str; 0]);
    assert_eq!(heard(&mut stream).await, ["apply a"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_outlives_the_servers_timeout_and_gets_bookmarks() {
    let api = ApiServer::new();
    let mut stream = words(api.client("me"), Config::default().timeout(120));
    assert_eq!(heard(&mut stream).await, ["init", "done"]);
    tokio::time::timeout(Duration::from_secs(600), stream.next()).await.expect_err("nothing happens");
    // The history before the last bookmark is not needed any more.
    api.expire_history();
    api.put(class("a"));
    assert_eq!(heard(&mut stream).await, ["apply a"]);
    let watches = api.requests().iter().filter(|request| request.verb == "watch").count();
    assert!(watches >= 5, "{watches}");
}

#[tokio::test(start_paused = true)]
async fn rights_are_checked_and_can_be_asked_for() {
    let api = ApiServer::new();
    let rules = ApiServer::rules(json!([
        { "apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": ["list", "watch"] },
    ]));
    api.grant_only("sidecar", rules.expect("rules"));
    let client = api.client("sidecar");
    let classes: Api<StorageClass> = Api::all(client.clone());
    assert!(classes.list(&ListParams::default()).await.is_ok());
    let refused = |error: kube::Error| match error {
        kube::Error::Api(status) => (status.code, status.message.clone()),
        other => (0, other.to_string()),
    };
    let (code, message) = classes.get("a").await.map_err(refused).expect_err("get is not granted");
    assert_eq!(code, 403);
    assert_eq!(
        message,
        "storageclasses.storage.k8s.io \"a\" is forbidden: User \"sidecar\" cannot get resource \
         \"storageclasses\" in API group \"storage.k8s.io\" at the cluster scope"
    );
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client);
    for (verb, allowed) in [("list", true), ("get", false)] {
        let attributes = ResourceAttributes {
            group: Some("storage.k8s.io".to_owned()),
            resource: Some("storageclasses".to_owned()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec =
            SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let answer = reviews.create(&PostParams::default(), &review).await.expect("anybody may ask");
        assert_eq!(answer.status.map(|status| status.allowed), Some(allowed), "{verb}");
    }
    assert!(api.client("admin").apiserver_version().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_hidden_resource_is_neither_served_nor_discovered() {
    let api = ApiServer::new();
    let client = api.client("me");
    let kinds = async || {
        let list = client.list_api_group_resources("storage.k8s.io/v1").await.expect("discovered");
        list.resources.into_iter().map(|resource| resource.kind).collect::<Names>()
    };
    assert!(kinds().await.contains(&"VolumeAttributesClass".to_owned()));
    api.hide("volumeattributesclasses");
    assert!(!kinds().await.contains(&"VolumeAttributesClass".to_owned()));
    let classes: Api<VolumeAttributesClass> = Api::all(client.clone());
    let refused = classes.list(&ListParams::default()).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 404));
}

#[tokio::test(start_paused = true)]
async fn metadata_alone_can_be_had() {
    let api = ApiServer::new();
    api.put(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "stringData": { "password": "x" },
    }));
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(api.client("me"), "default");
    let stream = watcher::watcher(secrets, Config::default());
    let events: Vec<_> = stream.take(3).try_collect().await.expect("events");
    let text = format!("{events:?}");
    assert!(text.contains("\"s\"") && !text.contains("password"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_says_when_to_come_back() {
    let world = World::default();
    world.steps.on(|step| step.is("list", "persistentvolumes"), 1, Fault::ApiError(429));
    let volumes: Api<PersistentVolume> = Api::all(world.client());
    let refused = volumes.list(&ListParams::default()).await.expect_err("planned");
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    assert_eq!(status.code, 429);
    assert_eq!(status.details.map(|details| details.retry_after_seconds), Some(1));
    assert!(volumes.list(&ListParams::default()).await.is_ok());
}
