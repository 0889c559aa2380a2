//! The caches that attaching reads, and what they tell of an attachment.

use std::sync::Arc;

use kubernetes::collection::Collection;
use kubernetes::object::{Attachment, CsiNode, Key, Volume};
use kubernetes::store::Store;

use crate::attachment::node::node_id_for_detach;
use crate::attachment::source::{Source, source};

/// The caches.
#[derive(Clone)]
pub(crate) struct Caches {
    /// Every attachment.
    pub(crate) attachments: Collection<Attachment>,
    /// Our volumes.
    pub(crate) volumes: Collection<Volume>,
    /// Every node.
    pub(crate) nodes: Arc<Store<CsiNode>>,
}

impl Caches {
    /// The driver's id of an attachment's volume, from the note or else from the volume; `None` if neither
    /// has it.
    ///
    /// `Differs:` upstream compares with the list also an in-tree volume that has no note, because another attacher
    /// attached it. The cache does not have its source.
    pub(crate) fn handle(&self, attachment: &Attachment) -> Option<Box<str>> {
        match source(attachment).ok()? {
            Source::Inline(_, csi) => Some(csi.volume_handle.clone()),
            Source::Volume(name) => attachment.volume_handle.clone().or_else(|| {
                let volume = self.volumes.get(&Key::cluster(name))?;
                Some(volume.spec.csi.as_ref()?.volume_handle.clone())
            }),
        }
    }

    /// The driver's id of an attachment's node; `None` if it is not known.
    pub(crate) fn node_id(&self, driver: &str, attachment: &Attachment) -> Option<Arc<str>> {
        let node = self.nodes.get(&Key::cluster(&attachment.node));
        node_id_for_detach(driver, attachment, node.as_deref()).ok()
    }
}
