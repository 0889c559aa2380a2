//! Writing to an attachment.

use kube::Resource;
use kubernetes::api::{self, Format};
use kubernetes::object::{Meta, WireAttachment};
use kubernetes::patch::only;
use serde_json::Value;

use super::reconcile::Attachments;

/// What a write found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// The object, which is still there.
    Kept,
    /// The object is gone, by this write or before it.
    Gone,
}

impl Attachments {
    /// Sends one write to an attachment and puts the reply into the cache. What it changes is not news; a deletion
    /// that the reply is the first to tell is, and the watch's own event of it comes too late to be.
    ///
    /// `Differs:` upstream writes to whatever has the name by then: an attachment forced out and made anew during
    /// the call is marked as attached without a finalizer, and its volume stays published for ever.
    pub(super) async fn write(
        &self,
        meta: &Meta,
        subresource: &str,
        format: Format,
        body: Value,
    ) -> Result<Written, api::Error> {
        let key = &meta.key;
        let body = only(&meta.uid, body);
        self.own.begin(key);
        let reply =
            self.process.objects.patch::<WireAttachment>("", key.name(), subresource, format, &body).await;
        let mut deleted = false;
        let (result, version) = match reply {
            Ok(wire) => {
                let left = wire.meta();
                deleted = left.deletion_timestamp.is_some() && !meta.deleting;
                let free = left.finalizers.as_ref().is_none_or(Vec::is_empty);
                if free && left.deletion_timestamp.is_some() {
                    self.attachments.deleted(key, &meta.uid);
                    (Ok(Written::Gone), None)
                } else {
                    (Ok(Written::Kept), Some(self.attachments.overlay(wire)))
                }
            }
            Err(error) if api::is(&error, 404) || api::is_for_another(&error) => (Ok(Written::Gone), None),
            Err(error) => (Err(error), None),
        };
        if self.own.end(key, version) || deleted {
            self.wake(key);
        }
        result
    }
}
