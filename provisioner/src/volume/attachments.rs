//! Which volumes are attached, and where.

use std::sync::Arc;

use kubernetes::api::Objects;
use kubernetes::attached::Attached;
use kubernetes::object::{Attachment, WireAttachment};
use kubernetes::store::Store;
use serde_json::Value;

/// The attachments of the cluster; empty for a driver that attaches nothing.
#[derive(Default)]
pub(crate) struct Attachments {
    count: Attached,
    store: Option<Arc<Store<Attachment>>>,
}

impl Attachments {
    /// Follows the cache. Calls `released` with a volume's name when its last attachment is gone.
    pub(crate) fn follow(
        store: Arc<Store<Attachment>>,
        released: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self { count: Attached::follow(&store, released), store: Some(store) }
    }

    /// Whether any attachment names the volume, whatever its state.
    pub(crate) fn has(&self, volume: &str) -> bool {
        self.count.has(volume)
    }

    /// The node that the volume is attached to, in words. The cache does not keep it, so it is asked for.
    pub(crate) async fn node(&self, objects: &Objects, volume: &str) -> String {
        let all = self.store.as_ref().map(|store| store.list()).unwrap_or_default();
        let names = |one: &&Arc<Attachment>| one.volume().is_some_and(|name| **name == *volume);
        if let Some(attachment) = all.iter().find(names)
            && let Ok(Some(object)) = objects.raw::<WireAttachment>("", attachment.meta.name()).await
            && let Some(node) = object.pointer("/spec/nodeName").and_then(Value::as_str)
        {
            return format!("node {node}");
        }
        "a node".to_owned()
    }
}
