//! Polls for what has no watch: one request at a time, round-robin.

use std::hash::Hash;
use std::ops::Bound;
use std::time::Duration;

use base::apart::apart;
use kube::Resource;
use tokio::time::{Instant, sleep};

use super::super::floor::passed;
use super::super::secret::pause;
use super::{Kind, Place, Uncached};
use crate::api;
use crate::object::{
    Key, WireAttributesClass, WireAttributesClassBeta, WireGrant, WireSecret, WireSnapshot,
    WireSnapshotContent, WireSourceClaim, WireVolume, version_of,
};

impl<W: Clone + Eq + Hash + Send + Sync + 'static> Uncached<W> {
    /// Polls for what is not watched, and wakes those who are to be woken later. Never ends.
    pub async fn poll(&self) {
        futures::join!(apart(self.poll_objects()), apart(self.wake_late()));
    }

    async fn wake_late(&self) {
        loop {
            let due = self.state().floor.next_due();
            tokio::select! {
                () = passed(due) => {}
                () = self.postponed.notified() => continue,
            }
            let woken = self.state().floor.take_due(Instant::now());
            woken.iter().for_each(&self.wake);
        }
    }

    async fn poll_objects(&self) {
        let (mut last, mut took) = (None, Duration::ZERO);
        loop {
            let Some((_, count)) = self.polled_after(last.as_ref()) else {
                self.wanted.notified().await;
                continue;
            };
            sleep(pause(count, took)).await;
            // Whoever waited may have given up meanwhile.
            let Some(((kind, key), _)) = self.polled_after(last.as_ref()) else { continue };
            let asked = Instant::now();
            match self.versions(kind, &key).await {
                Ok(versions) => versions.iter().for_each(|(key, version)| self.changed(kind, key, *version)),
                Err(error) => {
                    base::v!(2, "Could not read an object that is waited for; will ask again";
                        "kind" => format!("{kind:?}"), "object" => key, "err" => api::text(&error));
                }
            }
            (last, took) = (Some((kind, key)), asked.elapsed());
        }
    }

    /// The objects that the key stands for, with their versions.
    async fn versions(&self, kind: Kind, key: &Key) -> Result<Vec<(Key, u64)>, api::Error> {
        if kind == Kind::Grant && key.name().is_empty() {
            let (grants, _) = self.objects.list::<WireGrant>(key.namespace()).await?;
            let key = |grant: &WireGrant| {
                Key::new(key.namespace(), grant.meta().name.as_deref().unwrap_or_default())
            };
            return Ok(grants.iter().map(|grant| (key(grant), version_of(grant))).collect());
        }
        let version = self.version(kind, key).await?;
        Ok(version.map(|version| (key.clone(), version)).into_iter().collect())
    }

    async fn version(&self, kind: Kind, key: &Key) -> Result<Option<u64>, api::Error> {
        let (objects, namespace, name) = (&self.objects, key.namespace(), key.name());
        match kind {
            Kind::Snapshot => objects.version::<WireSnapshot>(namespace, name).await,
            Kind::Claim => objects.version::<WireSourceClaim>(namespace, name).await,
            Kind::Grant => objects.version::<WireGrant>(namespace, name).await,
            Kind::Secret => objects.version::<WireSecret>(namespace, name).await,
            Kind::Content => objects.version::<WireSnapshotContent>(namespace, name).await,
            Kind::Volume => objects.version::<WireVolume>(namespace, name).await,
            Kind::AttributesClass => objects.version::<WireAttributesClass>(namespace, name).await,
            Kind::AttributesClassBeta => objects.version::<WireAttributesClassBeta>(namespace, name).await,
        }
    }

    /// The object to ask for after this one (round-robin), and how many are polled; `None` if nobody waits for one.
    pub(super) fn polled_after(&self, last: Option<&Place>) -> Option<(Place, usize)> {
        let state = self.state();
        let polled = || state.waiters.keys().filter(|place| state.is_polled(place));
        let next = last.and_then(|last| {
            let after = (Bound::Excluded(last.clone()), Bound::Unbounded);
            state.waiters.range(after).map(|(place, _)| place).find(|place| state.is_polled(place))
        });
        let count = polled().count();
        next.or_else(|| polled().next()).cloned().map(|place| (place, count))
    }
}
