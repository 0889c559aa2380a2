//! The objects of one kind: the cache that a sidecar reads, and the writes that it sends.
//!
//! Every write of a sidecar to an object that it caches goes through a [`Collection`], and the reply goes into the
//! cache at once: the next pass over the object never acts on a view older than what it wrote.

use std::sync::Arc;

use kube::Resource;
use serde::Serialize;
use serde_json::Value;

use super::api::{self, Deleted, Format, Objects};
use super::object::{Key, Meta, Object, Uid, Wire, version_number};
use super::patch;
use super::store::Store;

/// The objects of one kind: the cache to read, the API server to write.
pub struct Collection<T: Object> {
    objects: Objects,
    store: Arc<Store<T>>,
}

impl Objects {
    /// Reads the object that `meta` is of; `None` when there is none, or another one of its name.
    ///
    /// # Errors
    /// The API server's refusal, or no answer.
    pub async fn same<W: Wire>(&self, meta: &Meta) -> Result<Option<W>, api::Error> {
        let found = self.get::<W>(meta.namespace(), meta.name()).await?;
        Ok(found.filter(|object| meta.uid == object.meta().uid.clone().into()))
    }
}

impl<T: Object> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self { objects: self.objects.clone(), store: self.store.clone() }
    }
}

/// The object after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The object, in this version.
    Kept {
        /// `metadata.resourceVersion` of the reply.
        version: u64,
        /// Whether the object is being deleted.
        deleting: bool,
    },
    /// It is gone: deleted by this write or before it. A new object may have its name.
    Gone,
}

/// The result of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is there.
    Stored,
    /// Another object has its name.
    Taken,
}

impl<T: Object> Collection<T> {
    /// The objects of `store`, changed through `objects`.
    pub fn new(objects: Objects, store: Arc<Store<T>>) -> Self {
        Self { objects, store }
    }

    /// The cache.
    pub fn store(&self) -> &Arc<Store<T>> {
        &self.store
    }

    /// The cached object of this key.
    pub fn get(&self, key: &Key) -> Option<Arc<T>> {
        self.store.get(key)
    }

    /// Reads a cached object from the API server, as another Rust type of the same kind. If it is gone, the result is
    /// `None`, and the cache forgets the object.
    ///
    /// # Errors
    /// The API server's refusal, or no answer.
    pub async fn read<W: Wire>(&self, meta: &Meta) -> Result<Option<W>, api::Error> {
        let same = self.objects.same::<W>(meta).await?;
        if same.is_none() {
            self.store.deleted(&meta.key, &meta.uid);
        }
        Ok(same)
    }

    /// Reads an object that the cache has passed over (see [`Store::pass_over_without`]), and stores it if what it needs is there by
    /// now. Of any other key, nothing is read.
    ///
    /// # Errors
    /// The API server's refusal, or no answer.
    pub async fn take_up(&self, key: &Key) -> Result<(), api::Error> {
        if self.store.has_passed_over(key)
            && let Some(wire) = self.objects.get::<T::Wire>(key.namespace(), key.name()).await?
        {
            self.store.take_up(wire);
        }
        Ok(())
    }

    /// Patches an object, or its subresource (`status`) if that is not empty. The patch changes only the object
    /// with this uid. A re-created object of the same name is left alone.
    ///
    /// # Errors
    /// The API server's refusal, or no answer. An object that is gone is no error.
    pub async fn patch(
        &self,
        meta: &Meta,
        subresource: &str,
        format: Format,
        body: Value,
    ) -> Result<Written, api::Error> {
        let body = match format {
            Format::Merge | Format::Strategic => patch::only(&meta.uid, body),
            Format::Json => patch::only_json(&meta.uid, body),
        };
        let (namespace, name) = (meta.namespace(), meta.name());
        let reply = self.objects.patch::<T::Wire>(namespace, name, subresource, format, &body).await;
        self.remember(&meta.key, &meta.uid, reply)
    }

    /// Puts a finalizer on; errors as [`Collection::patch`]. For kinds whose lists the server can merge.
    pub async fn add_finalizer(&self, meta: &Meta, finalizer: &str) -> Result<Written, api::Error> {
        self.patch(meta, "", Format::Strategic, patch::add_finalizer(finalizer)).await
    }

    /// Takes a finalizer off; errors as [`Collection::patch`]. For kinds whose lists the server can merge.
    pub async fn remove_finalizer(&self, meta: &Meta, finalizer: &str) -> Result<Written, api::Error> {
        self.patch(meta, "", Format::Strategic, patch::remove_finalizer(finalizer)).await
    }

    /// Puts a whole object in place of what the cache has, if it still has the version in `object`
    /// (see [`Objects::replace`]). Errors as [`Collection::patch`], and 409.
    pub async fn replace(
        &self,
        meta: &Meta,
        subresource: &str,
        object: &Value,
    ) -> Result<Written, api::Error> {
        let (namespace, name) = (meta.namespace(), meta.name());
        let reply = self.objects.replace::<T::Wire>(namespace, name, subresource, object).await;
        self.remember(&meta.key, &meta.uid, reply)
    }

    /// Deletes an object; errors as [`Collection::patch`].
    pub async fn delete(&self, meta: &Meta) -> Result<Written, api::Error> {
        let (namespace, name) = (meta.namespace(), meta.name());
        let reply = match self.objects.delete::<T::Wire>(namespace, name, &meta.uid).await? {
            Deleted::Pending(wire) => Some(*wire),
            Deleted::Gone => None,
        };
        Ok(self.overlay(&meta.key, &meta.uid, reply))
    }

    /// Creates an object of this key. If the name is taken, reads the object that has it. If `is_same` is true of that,
    /// we created it before and lost the reply: it counts as created.
    ///
    /// # Errors
    /// The API server's refusal, or no answer: the object may be there or not.
    pub async fn create(
        &self,
        key: &Key,
        body: &impl Serialize,
        is_same: impl FnOnce(&T) -> bool,
    ) -> Result<Created, api::Error> {
        let creation = self.store.creation(key.clone());
        let refused = match self.objects.create(key.namespace(), body).await {
            Ok(wire) => {
                creation.done(wire);
                return Ok(Created::Stored);
            }
            Err(error) if api::is(&error, 409) => error,
            Err(error) => return Err(error),
        };
        let Some(wire) = self.objects.get::<T::Wire>(key.namespace(), key.name()).await? else {
            return Err(refused);
        };
        if !T::slim(wire.clone(), self.store.scope()).is_some_and(|object| is_same(&object)) {
            return Ok(Created::Taken);
        }
        creation.done(wire);
        Ok(Created::Stored)
    }

    fn remember(
        &self,
        key: &Key,
        uid: &Uid,
        reply: Result<T::Wire, api::Error>,
    ) -> Result<Written, api::Error> {
        let reply = match reply {
            Ok(wire) => Some(wire),
            Err(error) if api::is_gone(&error, key.name()) => None,
            Err(error) => return Err(error),
        };
        Ok(self.overlay(key, uid, reply))
    }

    /// Puts a reply into the cache; none means that the object is gone.
    fn overlay(&self, key: &Key, uid: &Uid, reply: Option<T::Wire>) -> Written {
        let kept = reply.filter(|wire| {
            // The server removes an object that is being deleted with its last finalizer.
            let meta = wire.meta();
            meta.deletion_timestamp.is_none() || meta.finalizers.as_ref().is_some_and(|list| !list.is_empty())
        });
        let Some(wire) = kept else {
            self.store.deleted(key, uid);
            return Written::Gone;
        };
        let deleting = wire.meta().deletion_timestamp.is_some();
        let version = version_number(wire.meta().resource_version.as_deref());
        self.store.overlay(wire);
        Written::Kept { version, deleting }
    }
}
