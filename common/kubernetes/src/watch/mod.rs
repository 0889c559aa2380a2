//! Keeps a cache in step with the API server: a list, then a watch from the list's version on.
//!
//! Promises:
//! - a list is consistent: it shows everything that was written before it was asked for, also when the API server
//!   that answers lags behind another one;
//! - a server that refuses to stream its list is asked for pages instead, and for a stream again later;
//! - pauses after failures grow to half a minute. Only a watch event makes them short again;
//! - a broken watch resumes from its last version, without a new list;
//! - a watch that stays silent too long is not believed: a new list is asked for. After an etcd restore our version may
//!   be in the future, and the API server then accepts the watch and sends nothing until it gets there.
//!
//! `Differs:` client-go's reflector may list from an API server's cache, which may be older than what we saw before.

mod fill;
mod pause;
mod reflector;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use base::metrics::Metrics;
use futures::{Stream, StreamExt};
use kube::ResourceExt;
use kube::core::WatchEvent;
use tokio::time::timeout;

use super::api;
use super::object::{Guarded, Object};
use super::store::Writer;
use fill::Filling;
use pause::Pause;
use reflector::{Events, Reflector, SILENCE, key};
pub use request::WatchOptions;

/// After this many refusals in a row we list again instead of resuming the watch.
const REFUSALS: usize = 3;

/// Watches one kind for ever. Errors are logged and tried again.
pub async fn reflect<T: Object>(
    client: kube::Client,
    writer: Writer<T>,
    options: WatchOptions,
    metrics: Arc<Metrics>,
) {
    let mut reflector = Reflector { client, writer, options, metrics, pause: Pause::default() };
    let mut filling = Filling::new(reflector.options.streaming);
    loop {
        match filling.fill(&reflector).await {
            Ok(filled) => {
                if !reflector.follow(filled.version, filled.rest).await {
                    reflector.rest().await;
                }
            }
            Err(error) => {
                reflector.warn("Listing failed, will retry", &error);
                reflector.rest().await;
            }
        }
    }
}

/// Why a watch ended.
enum End {
    /// Its time was up, or the connection broke. It resumes from the last version.
    Over,
    /// The API server no longer has the changes since our version: a new list is needed.
    Expired,
    /// Nothing came for [`SILENCE`].
    Silent,
    Failed(api::Error),
}

impl<T: Object> Reflector<T> {
    /// Follows the changes after `version` until a new list is needed. `rest` is a watch that is open already. Tells
    /// whether it came any further than the list.
    async fn follow(&mut self, mut version: String, mut rest: Option<Events<T>>) -> bool {
        let (mut refusals, listed) = (0, version.clone());
        loop {
            let events = match rest.take() {
                Some(events) => Ok(events),
                None => self.open(&version).await,
            };
            let end = match events {
                Ok(mut events) => {
                    let before = version.clone();
                    let end = self.take_all(&mut events, &mut version).await;
                    if version != before {
                        refusals = 0;
                    }
                    end
                }
                Err(error) if api::is_expired(&error) => End::Expired,
                Err(error) => {
                    refusals += usize::from(api::status(&error).is_some());
                    End::Failed(error)
                }
            };
            match end {
                End::Over => {}
                End::Expired => return version != listed,
                End::Silent => {
                    self.inform("The watch was silent for too long, listing again");
                    return true;
                }
                End::Failed(error) => {
                    self.warn("Watching failed, will retry", &error);
                    self.rest().await;
                    if refusals >= REFUSALS {
                        // It has rested already.
                        return true;
                    }
                }
            }
        }
    }

    async fn open(&self, version: &str) -> Result<Events<T>, api::Error> {
        let request = self.options.watch::<T>(version, false)?;
        Ok(self.client.request_events::<Guarded<T::Wire>>(request).await?.boxed())
    }

    async fn take_all(
        &mut self,
        events: &mut (impl Stream<Item = Result<WatchEvent<Guarded<T::Wire>>, api::Error>> + Unpin),
        version: &mut String,
    ) -> End {
        // A watch that ends at once, again and again, must not spin.
        let mut empty = true;
        loop {
            match timeout(SILENCE, events.next()).await {
                Ok(Some(Ok(event))) => {
                    empty = false;
                    if let Some(end) = self.take(event, version) {
                        return end;
                    }
                    self.pause.reset();
                }
                Ok(Some(Err(error))) if api::is_expired(&error) => return End::Expired,
                Ok(Some(Err(error))) => return End::Failed(error),
                Ok(None) => {
                    if empty {
                        self.rest().await;
                    }
                    return End::Over;
                }
                Err(_) => return End::Silent,
            }
        }
    }

    /// Applies one event to the cache. If the event ends the watch, returns why.
    fn take(&self, event: WatchEvent<Guarded<T::Wire>>, version: &mut String) -> Option<End> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                note(version, object.resource_version());
                self.put(object, Writer::apply);
            }
            WatchEvent::Deleted(object) => {
                note(version, object.resource_version());
                self.writer.remove(&key(&object), &object.uid().into());
            }
            WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
            WatchEvent::Error(status) => {
                let error = api::Error::Api(status);
                return Some(if api::is_expired(&error) { End::Expired } else { End::Failed(error) });
            }
        }
        None
    }
}

fn note(version: &mut String, seen: Option<String>) {
    if let Some(seen) = seen {
        *version = seen;
    }
}
