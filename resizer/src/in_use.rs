//! Volumes that the driver expands only while no pod uses them.
//!
//! FAILED_PRECONDITION of ControllerExpandVolume starts this (`is_in_use` in `growth/error.rs`): `growth/reconcile.rs` calls `record`,
//! and we begin to follow the pods of the claim's namespace. As long as one of them uses the claim, the driver is not asked again
//! (`growth/expand.rs` calls `holds`). When the last one has ended, the claim is queued at once. When no claim of a namespace waits
//! any more, its pods are no longer followed.
//!
//! `Differs:` upstream keeps all pods of the cluster in memory from the start, unless `--handle-volume-inuse-error=false`,
//! which turns this off here too. Upstream does not queue the claim when a pod ends: it waits for its back-off, and gets an event at
//! each try. Ours gets one event in each `--retry-interval-max`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubernetes::object::{Claim, Key, Pod, Scope};
use kubernetes::store::{Change, Store, cache};
use kubernetes::watch::{WatchOptions, reflect};
use process::Seat;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long we wait for the first list of a namespace's pods. Without it, for lack of permission for instance, nothing
/// counts as in use, and the driver is asked again.
const FIRST_LIST: Duration = Duration::from_secs(5);

type Wake = Arc<dyn Fn(&Key) + Send + Sync>;

/// The claims whose volume is in use, as the driver says.
pub(crate) struct InUse {
    seat: Seat,
    /// `None` if pods are not looked at.
    wake: Option<Wake>,
    namespaces: Mutex<HashMap<Box<str>, Namespace>>,
}

/// The pods of a namespace in which claims wait.
struct Namespace {
    claims: HashSet<Key>,
    pods: Arc<Store<Pod>>,
    /// Whether we have waited for the first list in vain: once is enough.
    is_late: bool,
    /// The watch; it ends when this is dropped.
    _watch: JoinSet<()>,
}

impl InUse {
    /// No claim waits. `wake` is called with a claim when a pod that used it has ended; without `wake`, pods are not looked
    /// at.
    pub(crate) fn new(seat: Seat, wake: Option<Wake>) -> Arc<Self> {
        Arc::new(Self { seat, wake, namespaces: Mutex::default() })
    }

    /// The driver says that the claim's volume is in use.
    pub(crate) fn record(&self, claim: &Claim) {
        let Some(wake) = &self.wake else { return };
        let key = &claim.meta.key;
        let mut namespaces = self.namespaces();
        let namespace = namespaces
            .entry(key.namespace().into())
            .or_insert_with(|| Namespace::follow(&self.seat, key.namespace(), wake.clone()));
        namespace.claims.insert(key.clone());
    }

    /// Whether the driver said that the claim's volume is in use, and a pod uses the claim. If none does, the driver's word
    /// no longer counts.
    pub(crate) async fn holds(&self, claim: &Claim) -> bool {
        let key = &claim.meta.key;
        let waits = |namespace: &&Namespace| namespace.claims.contains(key);
        let found = self
            .namespaces()
            .get(key.namespace())
            .filter(waits)
            .map(|namespace| (namespace.pods.clone(), namespace.is_late));
        let Some((pods, is_late)) = found else { return false };
        let limit = if is_late { Duration::ZERO } else { FIRST_LIST };
        if timeout(limit, pods.synced()).await.is_err() {
            // The list may still come: it goes on.
            if !is_late {
                base::warn!("Could not list the pods within 5 s: check that the role allows list and watch on pods. Asking the driver"; "namespace" => key.namespace());
            }
            if let Some(namespace) = self.namespaces().get_mut(key.namespace()) {
                namespace.is_late = true;
            }
            return false;
        }
        let is_used = pods.list().iter().any(|pod| uses(pod, key));
        if !is_used {
            self.release(claim);
        }
        is_used
    }

    /// The claim waits no more.
    pub(crate) fn release(&self, claim: &Claim) {
        let key = &claim.meta.key;
        let mut namespaces = self.namespaces();
        let Some(namespace) = namespaces.get_mut(key.namespace()) else { return };
        namespace.claims.remove(key);
        if namespace.claims.is_empty() {
            namespaces.remove(key.namespace());
        }
    }

    fn namespaces(&self) -> MutexGuard<'_, HashMap<Box<str>, Namespace>> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Namespace {
    fn follow(seat: &Seat, namespace: &str, wake: Wake) -> Self {
        let (writer, pods) = cache::<Pod>(Arc::new(Scope::default()));
        pods.subscribe(move |change| {
            let ended = match change {
                Change::Removed(old) | Change::Left(old) => old,
                Change::Updated { old, new } if old.claims != new.claims => old,
                Change::Added(_) | Change::Updated { .. } => return,
            };
            // Those that do not wait find nothing to do.
            ended.claims.iter().for_each(|claim| wake(&Key::new(ended.meta.namespace(), claim)));
        });
        let options = WatchOptions {
            streaming: seat.streaming_lists,
            namespace: namespace.to_owned(),
            fields: "status.phase!=Succeeded,status.phase!=Failed".to_owned(),
            ..WatchOptions::default()
        };
        let mut watch = JoinSet::new();
        watch.spawn(reflect(seat.objects.client().clone(), writer, options, seat.metrics.clone()));
        Self { claims: HashSet::new(), pods, is_late: false, _watch: watch }
    }
}

fn uses(pod: &Pod, claim: &Key) -> bool {
    pod.meta.namespace() == claim.namespace() && pod.claims.iter().any(|name| **name == *claim.name())
}
