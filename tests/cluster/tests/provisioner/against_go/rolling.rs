//! A rolling change while claims come and go: each claim gets one volume, and no volume is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cluster::implementation::Implementation;
use cluster::stand::{Stand, has_hosts};
use cluster::{Signal, wait};
use csi::v1;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use super::{driver, provisioner};
use crate::{leader, wait_bound, wait_no_volumes};

const LIMIT: Duration = Duration::from_secs(120);
/// How many claims are made and deleted again and again.
const COUNT: usize = 40;
/// How many claims each leader is to lose.
const EACH: usize = 3 * COUNT;
/// A pause between two looks at all: looking must not take the machine from what is looked at.
const PACE: Duration = Duration::from_millis(50);
/// Requests of ours in flight.
const AT_ONCE: usize = 8;

/// Which claims are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deletes {
    /// Those that are bound. A Go process that ends leaks the volume of one that is not.
    Bound,
    /// One in eight of the others too.
    Any,
}

/// Claims that come and go, and how many went.
struct Churn {
    stand: Stand,
    claims: Api<PersistentVolumeClaim>,
    names: Vec<String>,
    /// Those that were there when last looked, by name: their uids.
    there: BTreeMap<String, String>,
    gone: usize,
    random: fastrand::Rng,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_change_leaks_and_loses_nothing() {
    if !has_hosts("a rolling change of csi-provisioner under load") {
        return;
    }
    let mut churn = Churn::up().await;
    let mut first = provisioner(Implementation::Go, &churn.stand, "first", &[]);
    churn.until_led_by("first", Deletes::Bound).await;
    let mut second = provisioner(Implementation::Ours, &churn.stand, "second", &[]);
    churn.goes_on(Deletes::Bound).await;

    // The Go provisioner is killed in the middle of it.
    first.kill();
    churn.until_led_by("second", Deletes::Bound).await;
    churn.until_inherited().await;
    let mut third = provisioner(Implementation::Go, &churn.stand, "third", &[]);
    churn.goes_on(Deletes::Any).await;

    // Ours is told to stop, while claims are deleted whose volumes are being made.
    second.signal(Signal::TERM);
    churn.until_led_by("third", Deletes::Bound).await;
    churn.goes_on(Deletes::Bound).await;
    assert_eq!(second.wait(LIMIT).await.and_then(|status| status.code()), Some(1));
    let log = second.last_lines(100_000);
    assert!(!log.contains("permission missing"), "{log}");
    assert!(!log.lines().any(|line| line.starts_with('E')), "{log}");

    // The Go provisioner is told to stop: it dies at once.
    let fourth = provisioner(Implementation::Ours, &churn.stand, "fourth", &[]);
    third.signal(Signal::TERM);
    churn.until_led_by("fourth", Deletes::Bound).await;
    churn.until_inherited().await;
    churn.goes_on(Deletes::Any).await;
    churn.settle().await;
    drop(fourth);
}

impl Churn {
    async fn up() -> Self {
        let stand = Stand::up("load").await;
        stand.class("csi", "Delete", "Immediate", &[]).await;
        let names: Vec<String> = (0..COUNT).map(|number| format!("c{number}")).collect();
        let claims = Api::namespaced(stand.client.clone(), &stand.namespace);
        let random = fastrand::Rng::with_seed(12);
        Self { stand, claims, names, there: BTreeMap::new(), gone: 0, random }
    }

    /// Makes and deletes until the leader has done its share.
    async fn goes_on(&mut self, deletes: Deletes) {
        let goal = self.gone + EACH;
        let end = Instant::now() + LIMIT;
        while self.gone < goal {
            assert!(Instant::now() < end, "{} of {goal} claims came and went", self.gone);
            self.step(deletes).await;
        }
    }

    /// Makes and deletes until this one leads.
    async fn until_led_by(&mut self, name: &str, deletes: Deletes) {
        let end = Instant::now() + LIMIT;
        while leader(&self.stand).await.as_deref() != Some(name) {
            assert!(Instant::now() < end, "{name} never led");
            self.step(deletes).await;
        }
    }

    /// Waits until each claim of now has its volume: a Go process that has died may have made it, and told nobody. If such a
    /// claim were deleted before its successor has begun with it, the Go process would have leaked the volume.
    async fn until_inherited(&mut self) {
        let end = Instant::now() + LIMIT;
        let uid = |claim: &PersistentVolumeClaim| claim.metadata.uid.clone();
        let all = ListParams::default();
        let mut waiting: BTreeSet<_> =
            self.claims.list(&all).await.expect("claims").iter().filter_map(uid).collect();
        while !waiting.is_empty() {
            assert!(Instant::now() < end, "{} claims were not taken over", waiting.len());
            let unbound: BTreeSet<_> = (self.claims.list(&all).await.expect("claims").iter())
                .filter(|claim| phase(claim) != "Bound")
                .filter_map(uid)
                .collect();
            waiting.retain(|uid| unbound.contains(uid));
            self.step(Deletes::Bound).await;
        }
    }

    /// Looks at all, then makes what is not there and deletes what has had its time.
    async fn step(&mut self, deletes: Deletes) {
        let mut there = BTreeMap::new();
        let mut unwanted = Vec::new();
        for claim in self.claims.list(&ListParams::default()).await.expect("claims") {
            let name = claim.metadata.name.clone().unwrap_or_default();
            let bound = phase(&claim) == "Bound";
            let impatient = deletes == Deletes::Any && self.random.u8(0..8) == 0;
            if claim.metadata.deletion_timestamp.is_none() && (bound || impatient) {
                unwanted.push(name.clone());
            }
            there.insert(name, claim.metadata.uid.unwrap_or_default());
        }
        self.gone += self.there.iter().filter(|(name, uid)| there.get(*name) != Some(uid)).count();
        let wanted: Vec<&String> = self.names.iter().filter(|name| !there.contains_key(*name)).collect();
        let make = futures::stream::iter(wanted).for_each_concurrent(AT_ONCE, async |name| {
            let claim = json!({
                "metadata": {"name": name},
                "spec": {
                    "accessModes": ["ReadWriteOnce"], "storageClassName": "csi",
                    "resources": {"requests": {"storage": "1Mi"}},
                },
            });
            let claim = serde_json::from_value(claim).expect("a claim");
            self.claims.create(&PostParams::default(), &claim).await.expect("created");
        });
        let delete = futures::stream::iter(&unwanted).for_each_concurrent(AT_ONCE, async |name| {
            self.claims.delete(name, &DeleteParams::default()).await.expect("deleted");
        });
        futures::join!(make, delete);
        self.there = there;
        tokio::time::sleep(PACE).await;
    }

    /// Every claim is to be bound in the end, and is, to a volume of its own; then none.
    async fn settle(&mut self) {
        let end = Instant::now() + LIMIT;
        let all = ListParams::default();
        loop {
            let claims = self.claims.list(&all).await.expect("claims").items;
            let leaving = claims.iter().any(|claim| claim.metadata.deletion_timestamp.is_some());
            if !leaving && claims.len() == COUNT {
                break;
            }
            assert!(Instant::now() < end, "{} claims, not {COUNT}", claims.len());
            // Nothing is deleted any more.
            let there: BTreeSet<String> =
                claims.into_iter().filter_map(|claim| claim.metadata.name).collect();
            for name in self.names.iter().filter(|name| !there.contains(*name)) {
                self.stand.claim(name, "csi", "1Mi").await;
            }
            tokio::time::sleep(PACE).await;
        }
        wait_bound(&self.claims, COUNT).await;
        let volumes: Api<PersistentVolume> = Api::all(self.stand.client.clone());
        // A volume whose claim went while it was made may still be on its way to its object, and from there to its end.
        let right = async || {
            let seen = self.seen(&volumes).await;
            (seen.claims == seen.objects && seen.handles == seen.made).then_some(())
        };
        if wait::until("a volume each, and no other", LIMIT, right).await.is_err() {
            let seen = self.seen(&volumes).await;
            assert_eq!(seen.claims, seen.objects, "claims with their volumes, and volumes with their claims");
            assert_eq!(seen.handles, seen.made, "the objects' volumes, and the driver's");
        }
        assert_eq!((self.seen(&volumes).await.claims.len(), self.stand.directories().len()), (COUNT, COUNT));

        self.claims.delete_collection(&DeleteParams::default(), &all).await.expect("deleted");
        wait_no_volumes(&self.stand).await;
        assert_eq!(self.stand.directories(), Vec::<String>::new());
        println!("{} claims came and went", self.gone + COUNT);
    }

    async fn seen(&self, volumes: &Api<PersistentVolume>) -> Seen {
        let claims = self.claims.list(&ListParams::default()).await.expect("claims");
        let pair = |claim: PersistentVolumeClaim| {
            let volume = claim.spec.and_then(|spec| spec.volume_name).unwrap_or_default();
            (claim.metadata.uid.unwrap_or_default(), volume)
        };
        let mut seen = Seen { claims: claims.into_iter().map(pair).collect(), ..Seen::default() };
        for volume in volumes.list(&ListParams::default()).await.expect("volumes") {
            let spec = volume.spec.expect("a spec");
            seen.handles.insert(spec.csi.expect("a CSI volume").volume_handle);
            let claim = spec.claim_ref.and_then(|claim| claim.uid).unwrap_or_default();
            seen.objects.insert((claim, volume.metadata.name.unwrap_or_default()));
        }
        let listed = driver(&self.stand).await.call(v1::ListVolumesRequest::default(), LIMIT).await;
        let entries = listed.expect("a list").entries.into_iter();
        seen.made.extend(entries.filter_map(|entry| entry.volume).map(|volume| volume.volume_id));
        seen
    }
}

/// What there is at one moment.
#[derive(Debug, Default)]
struct Seen {
    /// Uid of each claim, and its volume.
    claims: BTreeSet<(String, String)>,
    /// The same as the PersistentVolumes say it.
    objects: BTreeSet<(String, String)>,
    /// The ids in the PersistentVolumes.
    handles: BTreeSet<String>,
    /// The ids that the driver lists.
    made: BTreeSet<String>,
}

fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}
