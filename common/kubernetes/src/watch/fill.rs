//! Filling a cache from a list: as a stream, or in pages.

use std::time::Duration;

use futures::StreamExt;
use kube::core::{ListMeta, WatchEvent};
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::reflector::{Events, Reflector, SILENCE, key};
use crate::api;
use crate::object::{Guarded, Object};
use crate::store::Writer;

/// The annotation of the bookmark that ends the list at the beginning of a stream.
const LIST_ENDS: &str = "k8s.io/initial-events-end";
/// How long we ask for pages after the server has refused, or failed, to stream a list.
const PAGES_FOR: Duration = Duration::from_secs(600);
/// A server that answered, but broke off this many streams in a row before their lists ended, is asked for pages too.
const BROKEN_STREAMS: usize = 2;

/// A list that is in the cache.
pub(super) struct Filled<T: Object> {
    /// The list's version.
    pub(super) version: String,
    /// The stream that brought it and goes on with changes.
    pub(super) rest: Option<Events<T>>,
}

/// How the next list is asked for.
pub(super) struct Filling {
    streaming: bool,
    /// Until then we ask for pages, even if the server's version has streams.
    pages_until: Option<Instant>,
    /// Streams in a row that the server broke off.
    broken: usize,
}

#[derive(Deserialize)]
#[serde(bound = "W: crate::object::Wire")]
struct Page<W> {
    metadata: ListMeta,
    #[serde(default = "Vec::new")]
    items: Vec<Guarded<W>>,
}

impl Filling {
    /// `streaming` says whether the server's version has streams.
    pub(super) fn new(streaming: bool) -> Self {
        Self { streaming, pages_until: None, broken: 0 }
    }

    /// Reads the whole list into the cache.
    pub(super) async fn fill<T: Object>(&mut self, of: &Reflector<T>) -> Result<Filled<T>, api::Error> {
        let in_pages = !self.streaming || self.pages_until.is_some_and(|until| Instant::now() < until);
        if in_pages {
            return pages(of).await;
        }
        let (begun, refused) = match stream(of).await {
            Ok(filled) => {
                self.broken = 0;
                return Ok(filled);
            }
            Err(failure) => failure,
        };
        let code = api::status(&refused).map(|status| status.code);
        if begun || code.is_some() {
            self.broken += 1;
        }
        if !matches!(code, Some(400 | 422)) && self.broken < BROKEN_STREAMS {
            return Err(refused);
        }
        self.broken = 0;
        of.warn("The API server does not stream its list, asking for pages", &refused);
        self.pages_until = Some(Instant::now() + PAGES_FOR);
        pages(of).await
    }
}

async fn pages<T: Object>(of: &Reflector<T>) -> Result<Filled<T>, api::Error> {
    of.writer.list_begins();
    let mut token = None;
    loop {
        let page: Page<T::Wire> = of.client.request(of.options.page::<T>(token)?).await?;
        page.items.into_iter().for_each(|object| of.put(object, Writer::list_item));
        token = page.metadata.continue_.filter(|token| !token.is_empty());
        if token.is_none() {
            of.writer.list_ends();
            return Ok(Filled { version: page.metadata.resource_version.unwrap_or_default(), rest: None });
        }
    }
}

/// An error comes with whether the server had begun the stream.
async fn stream<T: Object>(of: &Reflector<T>) -> Result<Filled<T>, (bool, api::Error)> {
    // The server takes the list before it answers. What we write from now on may be missing in it.
    of.writer.list_begins();
    let open = async {
        let request = of.options.watch::<T>("", true)?;
        of.client.request_events::<Guarded<T::Wire>>(request).await
    };
    let mut events: Events<T> = open.await.map_err(|error| (false, error))?.boxed();
    take_list(of, &mut events)
        .await
        .map_err(|error| (true, error))
        .map(|version| Filled { version, rest: Some(events) })
}

/// Reads the list at the beginning of a stream. Returns its version.
async fn take_list<T: Object>(of: &Reflector<T>, events: &mut Events<T>) -> Result<String, api::Error> {
    loop {
        let event = timeout(SILENCE, events.next()).await.ok().flatten();
        match event.unwrap_or_else(|| Err(broken()))? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => of.put(object, Writer::list_item),
            WatchEvent::Deleted(object) => of.writer.remove(&key(&object), &uid(&object)),
            WatchEvent::Bookmark(bookmark) if bookmark.metadata.annotations.contains_key(LIST_ENDS) => {
                of.writer.list_ends();
                return Ok(bookmark.metadata.resource_version);
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err(api::Error::Api(status)),
        }
    }
}

fn uid(object: &impl kube::Resource) -> crate::object::Uid {
    object.meta().uid.clone().into()
}

/// The stream ended before its list did.
fn broken() -> api::Error {
    api::Error::Service("the stream of the list ended too early".into())
}
