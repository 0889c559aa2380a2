//! Sends writes to attachments.

use kubernetes::api::{self, Format};
use kubernetes::collection::Written;
use kubernetes::object::Meta;
use serde_json::Value;

use super::reconcile::Attachments;

impl Attachments {
    /// Sends one write to an attachment and puts the reply into the cache. The change itself queues nothing.
    /// But if the reply is the first to show that the attachment was deleted, it is queued: the watch event
    /// that follows shows nothing new by then.
    ///
    /// `Differs:` upstream writes to any attachment of that name. If the attachment was removed by force and
    /// re-created during the call, upstream marks the new one as attached without a finalizer, and its volume
    /// stays published for ever.
    pub(super) async fn write(
        &self,
        meta: &Meta,
        subresource: &str,
        format: Format,
        body: Value,
    ) -> Result<Written, api::Error> {
        let key = &meta.key;
        self.own.begin(key);
        let written = self.attachments.patch(meta, subresource, format, body).await;
        let (version, deleted) = match written {
            Ok(Written::Kept { version, deleting }) => (Some(version), deleting && !meta.deleting),
            Ok(Written::Gone) | Err(_) => (None, false),
        };
        if self.own.end(key, version) || deleted {
            self.wake(key);
        }
        written
    }
}
