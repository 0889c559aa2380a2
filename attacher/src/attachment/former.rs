//! The id that a node had when a volume was published to it, if it has another one now.
//!
//! A node that was replaced under its name, or whose driver now names it otherwise, registers with another id. What was
//! published under the former one is known from the attachment's note only.
//!
//! `Differs:` upstream calls the driver with the node's present id alone. If the node was replaced, the volume stays attached
//! to the old machine. Here the volume is unpublished from the former id too, before it is published or detached under
//! the present one. A driver that does not know the former id any more (NOT_FOUND, INVALID_ARGUMENT) has nothing there.

use std::collections::BTreeMap;

use kubernetes::object::Attachment;
use tonic::{Code, Status};

use super::attachments::Attachments;
use super::note::Note;
use super::request;
use crate::publication::registry::Pair;

/// What may be published under an id that the node no longer has. `handle` is the volume's, for attachments without a
/// note of it.
pub(super) fn former(attachment: &Attachment, finalizer: &str, handle: &str, node_id: &str) -> Option<Pair> {
    let noted = attachment.node_id.as_ref().filter(|noted| !noted.is_empty() && ***noted != *node_id)?;
    let handle = Note::read(attachment).map_or_else(|| handle.into(), |note| note.handle);
    attachment.meta.has_finalizer(finalizer).then(|| Pair { handle, node_id: noted.clone() })
}

impl Attachments {
    /// Unpublishes the volume from a node id that the node no longer has. Returns false if another call for the pair is in
    /// flight.
    ///
    /// # Errors
    /// The driver's, unless it says that it does not know the node.
    pub(super) async fn leave(
        &self,
        attachment: &Attachment,
        former: Pair,
        secrets: &BTreeMap<String, String>,
        migrated: bool,
    ) -> Result<bool, Status> {
        let Some(_claim) = self.claim(&former, &attachment.meta.key) else { return Ok(false) };
        base::info!("The node has another id now; unpublishing from the former one";
            "attachment" => attachment.meta.key, "volume" => former.handle, "nodeID" => former.node_id);
        let mut request = request::unpublish(&former.handle, &former.node_id);
        request.secrets.clone_from(secrets);
        let reply = self.seat.driver.call_migrated(request, self.config.timeout, migrated).await;
        match reply {
            Err(status) if !is_unknown(&status) => Err(status),
            Ok(_) | Err(_) => {
                self.publications.remove(&former);
                Ok(true)
            }
        }
    }
}

/// Whether the driver says that there is no such node, or that this is no node's id.
fn is_unknown(status: &Status) -> bool {
    csi::was_answered(status) && matches!(status.code(), Code::NotFound | Code::InvalidArgument)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{FINALIZER, attachment};
    use kubernetes::object::annotation::NODE_ID;
    use serde_json::{Value, json};

    #[test]
    fn only_another_id_that_was_noted_is_a_former_one() {
        let noted = |id: Value, finalizers: Value| {
            attachment(json!({"metadata": {"annotations": {NODE_ID: id}, "finalizers": finalizers}}))
        };
        let ours = || json!([FINALIZER]);
        let of = |attachment: &Attachment| former(attachment, FINALIZER, "handle", "now");
        let found = of(&noted(json!("before"), ours())).unwrap();
        assert_eq!((&*found.handle, &*found.node_id), ("handle", "before"));
        assert!(of(&noted(json!("now"), ours())).is_none());
        assert!(of(&noted(json!(""), ours())).is_none());
        assert!(of(&noted(json!("before"), json!([]))).is_none(), "nothing was begun");
        assert!(of(&attachment(json!({}))).is_none());
    }

    #[test]
    fn only_a_driver_that_does_not_know_the_node_has_nothing_there() {
        for code in (1..=16).map(Code::from) {
            let unknown = matches!(code, Code::NotFound | Code::InvalidArgument);
            assert_eq!(is_unknown(&Status::new(code, "")), unknown, "{code:?}");
        }
    }
}
