//! Keeps a [`Store`] in step with the API server.

use std::sync::Arc;

use futures::StreamExt;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt};

use super::api;
use super::object::{Guarded, Key, Object};
use super::store::Store;
use base::metrics::Metrics;

/// Objects a list page brings at the most: a page is parsed and dropped before the next one is asked for.
const PAGE: u32 = 100;

/// How a kind is watched.
#[derive(Debug, Clone, Default)]
pub struct WatchOptions {
    /// Ask for the initial list as a stream (Kubernetes 1.34 and later): never a page in memory.
    pub streaming: bool,
    /// A field selector; empty for all objects.
    pub fields: String,
}

/// Watches one kind for ever. Errors are logged and tried again with growing pauses.
pub async fn reflect<T>(
    client: kube::Client,
    store: Arc<Store<T>>,
    options: WatchOptions,
    metrics: Arc<Metrics>,
) where
    T: Object,
{
    let api: Api<Guarded<T::Wire>> = Api::all_with(client, &());
    let mut config = watcher::Config::default().page_size(PAGE);
    if options.streaming {
        config = config.streaming_lists();
    }
    if !options.fields.is_empty() {
        config = config.fields(&options.fields);
    }
    let mut events = watcher(api, config).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => store.list_begins(),
            Ok(Event::InitDone) => store.list_ends(),
            Ok(Event::Apply(object) | Event::InitApply(object)) => take(&store, object, &metrics),
            Ok(Event::Delete(object)) => {
                store.remove(&key(&object), &object.meta().uid.clone().into());
            }
            Err(error) => {
                base::warn!("Watch failed, will retry"; "resource" => T::Wire::plural(&()), "err" => text(&error));
            }
        }
    }
}

/// The error as an operator should read it: kube's own text repeats the API server's whole status.
fn text(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) => format!("listing failed: {}", api::text(error)),
        watcher::Error::WatchStartFailed(error) => format!("watching could not start: {}", api::text(error)),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::WatchFailed(error) => format!("the stream broke: {}", api::text(error)),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

fn take<T: Object>(store: &Store<T>, object: Guarded<T::Wire>, metrics: &Metrics) {
    let key = key(&object);
    match object.0 {
        Ok(wire) => store.apply(wire),
        Err(malformed) => {
            store.keep(&key);
            metrics.count_malformed(&T::Wire::plural(&()));
            base::error!(malformed, "Skipped an object that cannot be read"; "resource" => T::Wire::plural(&()), "object" => key);
        }
    }
}

fn key(object: &impl Resource<DynamicType = ()>) -> Key {
    Key::new(&object.namespace().unwrap_or_default(), &object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_in_the_api_server_s_own_words_and_once() {
        let status = kube::core::Status::failure("volumes is forbidden", "Forbidden").with_code(403);
        let refused = kube::Error::Api(status.clone().boxed());
        for (error, expected) in [
            (watcher::Error::InitialListFailed(refused), "listing failed: volumes is forbidden"),
            (watcher::Error::WatchError(status.boxed()), "volumes is forbidden"),
        ] {
            assert_eq!(text(&error), expected);
        }
    }
}
