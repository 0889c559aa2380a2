//! A hand-over while attachments come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cluster::implementation::Implementation;
use cluster::{Signal, wait};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Preconditions};
use serde_json::json;

use super::attacher;
use super::seen::Driver;
use crate::is_content;
use crate::site::{LIMIT, NODE, Site};

/// How many volumes are attached and detached again and again.
const COUNT: usize = 60;
/// How many detaches each leader is to finish.
const EACH: usize = 2 * COUNT;
/// A pause between two looks at all: looking must not take the machine from what is looked at.
const PACE: Duration = Duration::from_millis(50);
/// Requests of ours in flight.
const AT_ONCE: usize = 8;

/// Volumes that are attached and detached without end, and how often that came to its end.
struct Churn {
    site: Site,
    names: Vec<String>,
    /// The volumes' names by their ids at the driver.
    by_handle: BTreeMap<String, String>,
    /// Those with an attachment when last looked.
    there: BTreeSet<String>,
    /// Detaches that were finished.
    detached: usize,
    random: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attachments_are_right_after_each_change_of_leader() {
    if !cluster::stand::has_hosts("a rolling change under load") {
        return;
    }
    let quick = ["--retry-interval-start=200ms", "--retry-interval-max=2s"];
    let mut churn = Churn::up().await;
    let mut first = attacher(Implementation::Go, &churn.site, "first", &quick);
    churn.site.led_by("first").await;
    let mut second = attacher(Implementation::Ours, &churn.site, "second", &quick);
    churn.goes_on().await;

    // The Go attacher is killed in the middle of it.
    first.kill();
    churn.until_led_by("second").await;
    let third = attacher(Implementation::Go, &churn.site, "third", &quick);
    churn.goes_on().await;

    // Ours is told to stop.
    second.signal(Signal::TERM);
    churn.until_led_by("third").await;
    churn.goes_on().await;
    assert_eq!(second.wait(LIMIT).await.and_then(|status| status.code()), Some(1));
    is_content(&second);

    churn.settle().await;
    drop(third);
}

impl Churn {
    async fn up() -> Self {
        let site = Site::up("load").await;
        let names: Vec<String> = (0..COUNT).map(|number| format!("v{number}")).collect();
        let mut by_handle = BTreeMap::new();
        for name in &names {
            site.unclaimed(name, json!({})).await;
            by_handle.insert(site.handle(name).await, name.clone());
        }
        Self { site, names, by_handle, there: BTreeSet::new(), detached: 0, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Attaches and detaches until the leader has finished its share.
    async fn goes_on(&mut self) {
        let goal = self.detached + EACH;
        let end = Instant::now() + LIMIT;
        while self.detached < goal {
            assert!(Instant::now() < end, "{} of {goal} detached", self.detached);
            self.step().await;
        }
    }

    /// Attaches and detaches until this one leads.
    async fn until_led_by(&mut self, name: &str) {
        let end = Instant::now() + LIMIT;
        while self.site.leader().await.as_deref() != Some(name) {
            assert!(Instant::now() < end, "{name} never led");
            self.step().await;
        }
    }

    /// Looks at all, then makes what is not there, and deletes what is attached and one in sixteen of what is not yet.
    async fn step(&mut self) {
        let attachments = self.attachments().await;
        let there: BTreeSet<String> = attachments.keys().cloned().collect();
        self.detached += self.there.difference(&there).count();
        let mut unwanted = Vec::new();
        for attachment in attachments.values() {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let attached = attachment.status.as_ref().is_some_and(|status| status.attached);
            let impatient = self.random >> 60 == 0;
            if attachment.metadata.deletion_timestamp.is_none() && (attached || impatient) {
                unwanted.push(attachment.metadata.clone());
            }
        }
        let wanted: Vec<String> = self.names.iter().filter(|name| !there.contains(*name)).cloned().collect();
        self.there = there.into_iter().chain(wanted.iter().cloned()).collect();
        self.apply(&wanted, &unwanted).await;
        tokio::time::sleep(PACE).await;
    }

    /// Makes and deletes, the latter only what is still as it was seen: the API server looks for finalizers before it
    /// deletes, and one that is put on in between keeps nothing back. Then nobody can know that a volume is published.
    async fn apply(&self, wanted: &[String], unwanted: &[ObjectMeta]) {
        let attach = futures::stream::iter(wanted)
            .for_each_concurrent(AT_ONCE, async |name| self.site.attachment(name, NODE).await);
        let api = self.site.api::<VolumeAttachment>();
        let detach = futures::stream::iter(unwanted).for_each_concurrent(AT_ONCE, async |seen| {
            let preconditions =
                Some(Preconditions { uid: None, resource_version: seen.resource_version.clone() });
            let params = DeleteParams { preconditions, ..DeleteParams::default() };
            match api.delete(seen.name.as_deref().unwrap_or_default(), &params).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                result => drop(result.expect("deleted")),
            }
        });
        futures::join!(attach, detach);
    }

    async fn attachments(&self) -> BTreeMap<String, VolumeAttachment> {
        let all = self.site.attachments().await.into_iter();
        all.filter_map(|attachment| Some((attachment.metadata.name.clone()?, attachment))).collect()
    }

    /// Every other volume is to be attached in the end, and is; then none.
    async fn settle(&self) {
        let (stay, go): (Vec<String>, Vec<String>) = self
            .names
            .iter()
            .cloned()
            .partition(|name| name.trim_start_matches('v').parse::<usize>().is_ok_and(|n| n % 2 == 0));
        let end = Instant::now() + LIMIT;
        loop {
            let all = self.attachments().await;
            let is_deleted = |one: &VolumeAttachment| one.metadata.deletion_timestamp.is_some();
            let wanted: Vec<String> = stay.iter().filter(|name| !all.contains_key(*name)).cloned().collect();
            let unwanted: Vec<ObjectMeta> = go
                .iter()
                .filter_map(|name| all.get(name).filter(|one| !is_deleted(one)))
                .map(|one| one.metadata.clone())
                .collect();
            if wanted.is_empty() && all.len() == stay.len() && !all.values().any(is_deleted) {
                break;
            }
            assert!(Instant::now() < end, "{} attachments, not {}", all.len(), stay.len());
            self.apply(&wanted, &unwanted).await;
            tokio::time::sleep(PACE).await;
        }
        self.site.attached(stay.len()).await;
        for name in &stay {
            let right = "protected, bound, to node-1, attached, published";
            let handle = self.site.handle(name).await;
            self.site.becomes(name, &handle, Driver::Asked, right).await;
        }
        let name = |handle| self.by_handle.get(handle).expect("one of ours");
        let published = self.site.published().await;
        let mut published: Vec<&String> = published.iter().map(name).collect();
        published.sort();
        let mut expected: Vec<&String> = stay.iter().collect();
        expected.sort();
        assert_eq!(published, expected, "nothing is published without an attachment");

        let all = ListParams::default();
        self.site
            .api::<VolumeAttachment>()
            .delete_collection(&DeleteParams::default(), &all)
            .await
            .expect("deleted");
        self.site.attached(0).await;
        assert_eq!(self.site.published().await, Vec::<String>::new());
        let volumes = self.site.api::<PersistentVolume>();
        volumes.delete_collection(&DeleteParams::default(), &all).await.expect("deleted");
        let gone = async || volumes.list(&all).await.ok()?.items.is_empty().then_some(());
        wait::until("the volumes to go", LIMIT, gone).await.expect("gone");
    }
}
