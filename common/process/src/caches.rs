//! The caches of a process: one store a kind, shared by its sidecars.

use std::any::{Any, TypeId};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use kubernetes::object::{Object, Scope};
use kubernetes::store::{Store, cache};
use kubernetes::watch::{WatchOptions, reflect};

use crate::host::Host;

type Watch = Box<dyn FnOnce(&Host) -> BoxFuture<'static, ()> + Send>;

/// The stores that the sidecars of this process have asked for. A kind that nobody asks for is not watched.
pub struct Caches {
    scope: Arc<Scope>,
    kinds: Vec<Kind>,
}

struct Kind {
    id: TypeId,
    store: Arc<dyn Any + Send + Sync>,
    watch: Watch,
    /// Resolves when its first list is complete. `None` if nobody waits for that.
    synced: Option<BoxFuture<'static, ()>>,
    /// Resolves when its watch may begin. `None` if that is at once.
    after: Option<BoxFuture<'static, ()>>,
}

impl Caches {
    /// No store yet. `scope` says which fields of the objects are kept: all that any sidecar of this process reads.
    pub fn new(scope: Scope) -> Self {
        Self { scope: Arc::new(scope), kinds: Vec::new() }
    }

    /// What is kept of the objects.
    pub fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// The store of a kind. It stays empty until a sidecar of this process leads: subscribe before that.
    pub fn store<T: Object>(&mut self) -> Arc<Store<T>> {
        self.known().unwrap_or_else(|| self.add(WatchOptions::default(), true))
    }

    /// As [`Caches::store`], of the objects that `options` select. Who asks first selects.
    pub fn store_of<T: Object>(&mut self, options: WatchOptions) -> Arc<Store<T>> {
        self.known().unwrap_or_else(|| self.add(options, true))
    }

    /// As [`Caches::store`], for a kind without which work can begin: no duty waits for its first list. The cluster may
    /// not have the kind, or the service account may not list it. Who needs it awaits [`Store::synced`]. If the kind has a
    /// store already, `options` change nothing.
    pub fn optional_store<T: Object>(&mut self, options: WatchOptions) -> Arc<Store<T>> {
        self.known().unwrap_or_else(|| self.add(options, false))
    }

    /// As [`Caches::store`], without the objects that [need](Object::needs) one of kind `N` that the cache of that kind does not have. The
    /// first list waits for the first list of `N`.
    pub fn store_beside<T: Object, N: Object>(&mut self) -> Arc<Store<T>> {
        let (store, needed) = (self.store::<T>(), self.store::<N>());
        let known = Arc::downgrade(&needed);
        store.pass_over_without(move |key| known.upgrade().is_some_and(|known| known.get(key).is_some()));
        if let Some(kind) = self.kinds.iter_mut().find(|kind| kind.id == TypeId::of::<T>()) {
            kind.after = Some(async move { needed.synced().await }.boxed());
        }
        store
    }

    fn known<T: Object>(&self) -> Option<Arc<Store<T>>> {
        let known = self.kinds.iter().find(|kind| kind.id == TypeId::of::<T>())?;
        known.store.clone().downcast().ok()
    }

    fn add<T: Object>(&mut self, options: WatchOptions, is_awaited: bool) -> Arc<Store<T>> {
        let (writer, store) = cache::<T>(self.scope.clone());
        let (id, waits) = (TypeId::of::<T>(), store.clone());
        let watch: Watch = Box::new(move |host| {
            let options =
                WatchOptions { streaming: host.streaming_lists, metadata_only: T::METADATA_ONLY, ..options };
            reflect(host.client.clone(), writer, options, host.metrics.clone()).boxed()
        });
        let synced = is_awaited.then(|| async move { waits.synced().await }.boxed());
        self.kinds.push(Kind { id, store: store.clone(), watch, synced, after: None });
        store
    }

    /// Two results: the watches, which never end, and a future that resolves when all lists are complete.
    pub(crate) fn start(self, host: &Host) -> (Vec<BoxFuture<'static, ()>>, BoxFuture<'static, ()>) {
        let (mut watches, mut synced) = (Vec::new(), Vec::new());
        for kind in self.kinds {
            let watch = (kind.watch)(host);
            watches.push(match kind.after {
                Some(after) => after.then(|()| watch).boxed(),
                None => watch,
            });
            synced.extend(kind.synced);
        }
        (watches, join_all(synced).map(drop).boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubernetes::object::{Claim, Volume};

    #[test]
    fn a_kind_has_one_store_whoever_asks() {
        let mut caches = Caches::new(Scope::default());
        let (first, claims) = (caches.store::<Volume>(), caches.store::<Claim>());
        assert!(Arc::ptr_eq(&first, &caches.store::<Volume>()) && claims.is_empty());
        let optional = caches.optional_store::<Volume>(WatchOptions::default());
        assert!(Arc::ptr_eq(&first, &optional));
        assert_eq!(caches.kinds.len(), 2);
    }

    #[test]
    fn claims_are_listed_after_the_volumes_that_they_need() {
        let mut caches = Caches::new(Scope::default());
        caches.store::<Claim>();
        let claims = caches.store_beside::<Claim, Volume>();
        assert!(Arc::ptr_eq(&claims, &caches.store::<Claim>()), "whoever asked first");
        assert_eq!(caches.kinds.iter().map(|kind| kind.after.is_some()).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn nobody_waits_for_an_optional_kind() {
        let mut caches = Caches::new(Scope::default());
        caches.optional_store::<Volume>(WatchOptions::default());
        caches.store::<Claim>();
        assert_eq!(caches.kinds.iter().map(|kind| kind.synced.is_some()).collect::<Vec<_>>(), [false, true]);
    }
}
