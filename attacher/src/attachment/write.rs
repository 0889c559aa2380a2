//! Writing to an attachment.

use kubernetes::api::{self, Format};
use kubernetes::collection::Written;
use kubernetes::object::Meta;
use serde_json::Value;

use super::reconcile::Attachments;

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
