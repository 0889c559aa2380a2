//! Decides the next step for an attachment (docs/upstream/attacher.md, "Attach", "Detach" and
//! "Trivial driver").

use base::queue::Place;
use kubernetes::object::{Attachment, Meta};

/// The lane of attaches in the queue.
pub(crate) const ATTACH: usize = 0;
/// The lane of detaches in the queue.
pub(crate) const DETACH: usize = 1;

/// The next step for an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing to do, or another driver's attachment.
    Ignore,
    /// Publish the volume.
    Attach,
    /// Unpublish the volume.
    Detach,
    /// Mark as attached without a call: the driver cannot attach.
    MarkAttached,
}

/// What decisions need to know about us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Role<'a> {
    /// Our finalizer.
    pub(crate) finalizer: &'a str,
    /// Whether the driver publishes volumes at all.
    pub(crate) attach: bool,
}

/// Decides the next step for an attachment. `forced` is set when the driver's list contradicts the
/// attachment.
///
/// `Differs:` a process may end between removing our finalizer and writing the status, while another
/// finalizer keeps the object. The deleted attachment then still says attached, and upstream leaves it so. We
/// detach it.
pub(crate) fn decide(attachment: &Attachment, role: Role<'_>, forced: bool) -> Step {
    if !attachment.ours {
        return Step::Ignore;
    }
    let attached = attachment.attached;
    if !role.attach {
        return if attached { Step::Ignore } else { Step::MarkAttached };
    }
    if !attachment.meta.deleting {
        return if attached && !forced { Step::Ignore } else { Step::Attach };
    }
    let bound = attachment.meta.has_finalizer(role.finalizer);
    if bound || attached || forced { Step::Detach } else { Step::Ignore }
}

/// Whether a detach of the attachment is still to come: it is live, or our finalizer is on it.
pub(crate) fn awaits_detach(meta: &Meta, finalizer: &str) -> bool {
    !meta.deleting || meta.has_finalizer(finalizer)
}

/// Its place in the queue: a lane for attach or detach, and in it a group for the node.
pub(crate) fn place(attachment: &Attachment) -> Place {
    let lane = if attachment.meta.deleting { DETACH } else { ATTACH };
    Place { lane, group: Some(attachment.node.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{FINALIZER, attachment};
    use serde_json::{Value, json};

    fn role(attach: bool) -> Role<'static> {
        Role { finalizer: FINALIZER, attach }
    }

    fn object(deleting: bool, finalizer: bool, attached: bool) -> Attachment {
        let finalizers: &[&str] = if finalizer { &["other", FINALIZER] } else { &["other"] };
        let deletion = if deleting { json!("2026-01-01T00:00:00Z") } else { Value::Null };
        attachment(json!({
            "metadata": {"finalizers": finalizers, "deletionTimestamp": deletion},
            "status": {"attached": attached},
        }))
    }

    #[test]
    fn each_attachment_leads_to_its_step() {
        use Step::*;
        for (deleting, finalizer, attached, forced, expected) in [
            (false, false, false, false, Attach),
            (false, true, false, false, Attach),
            (false, true, true, false, Ignore),
            (false, false, true, false, Ignore),
            (false, true, true, true, Attach),
            (false, false, false, true, Attach),
            (true, true, true, false, Detach),
            (true, true, false, false, Detach),
            (true, false, false, false, Ignore),
            (true, false, false, true, Detach),
            (true, false, true, false, Detach),
        ] {
            let case =
                format!("deleting {deleting}, finalizer {finalizer}, attached {attached}, forced {forced}");
            assert_eq!(
                decide(&object(deleting, finalizer, attached), role(true), forced),
                expected,
                "{case}"
            );
        }
    }

    #[test]
    fn without_publishing_an_attachment_is_only_marked() {
        for (deleting, attached, expected) in [
            (false, false, Step::MarkAttached),
            (true, false, Step::MarkAttached),
            (false, true, Step::Ignore),
            (true, true, Step::Ignore),
        ] {
            assert_eq!(decide(&object(deleting, true, attached), role(false), false), expected);
        }
    }

    #[test]
    fn other_drivers_attachments_are_ignored() {
        let other = attachment(json!({"spec": {"attacher": "other"}}));
        for attach in [true, false] {
            assert_eq!(decide(&other, role(attach), true), Step::Ignore);
        }
    }

    #[test]
    fn attaches_and_detaches_wait_apart_and_by_node() {
        let place = |deleting| place(&object(deleting, true, true));
        assert_eq!(place(false), Place { lane: ATTACH, group: Some("node1".into()) });
        assert_eq!(place(true), Place { lane: DETACH, group: Some("node1".into()) });
    }
}
