//! What listing and watching one kind share: client, cache, options, pauses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::metrics::Metrics;
use futures::stream::BoxStream;
use kube::ResourceExt;
use kube::core::WatchEvent;
use tokio::time::sleep;

use super::pause::Pause;
use super::request::WatchOptions;
use crate::api;
use crate::object::{Guarded, Key, Object};
use crate::store::Writer;

/// How long an open watch may be silent. A healthy API server sends a bookmark every minute or so.
pub(super) const SILENCE: Duration = Duration::from_secs(180);

/// A watch that is open.
pub(super) type Events<T> = BoxStream<'static, Result<WatchEvent<Guarded<<T as Object>::Wire>>, api::Error>>;

/// One kind at one server.
pub(super) struct Reflector<T: Object> {
    pub(super) client: kube::Client,
    pub(super) writer: Writer<T>,
    pub(super) options: WatchOptions,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pause: Pause,
}

impl<T: Object> Reflector<T> {
    /// Puts an object into the cache; one that cannot be read is skipped, and what is stored of it stays.
    pub(super) fn put(&self, object: Guarded<T::Wire>, put: impl FnOnce(&Writer<T>, T::Wire)) {
        let key = key(&object);
        match object.0 {
            Ok(wire) => put(&self.writer, wire),
            Err(malformed) => {
                self.writer.keep(&key);
                self.metrics.count_malformed(&plural::<T>());
                base::error!(malformed, "Skipped a malformed object";
                    "resource" => plural::<T>(), "object" => key);
            }
        }
    }

    pub(super) fn warn(&self, text: &str, error: &api::Error) {
        let refusal = self.options.refusal.as_ref().filter(|_| api::is(error, 403));
        if refusal.is_some_and(|told| told.swap(true, Ordering::Relaxed)) {
            base::v!(2, text; "resource" => plural::<T>(), "err" => api::text(error));
            return;
        }
        base::warn!(text; "resource" => plural::<T>(), "err" => api::text(error));
    }

    pub(super) fn inform(&self, text: &str) {
        base::info!(text; "resource" => plural::<T>());
    }

    pub(super) async fn rest(&mut self) {
        sleep(self.pause.next()).await;
    }
}

/// The plural name of a kind, as RBAC rules spell it.
fn plural<T: Object>() -> String {
    <T::Wire as kube::Resource>::plural(&()).into_owned()
}

/// The key of an object.
pub(super) fn key(object: &impl kube::Resource<DynamicType = ()>) -> Key {
    Key::new(&object.namespace().unwrap_or_default(), &object.name_any())
}
