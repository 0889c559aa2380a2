//! The events of an object: what others have written about it.

use jiff::Timestamp;
use serde_json::Value;

use crate::field::{one_line, text};
use crate::view::{View, began, happened};

/// What an event says.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// The message, on one line.
    pub(crate) message: String,
    /// When it was said first.
    pub(crate) since: Option<Timestamp>,
}

/// The latest warning of the object with one of these reasons.
pub(crate) fn warning(view: &View, object: &Value, reasons: &[&str]) -> Option<Said> {
    warning_since(view, object, reasons, None)
}

/// The latest warning with one of these reasons, if it came after this time: an older one is about something that was wanted
/// before.
pub(crate) fn warning_since(
    view: &View,
    object: &Value,
    reasons: &[&str],
    after: Option<Timestamp>,
) -> Option<Said> {
    let warns =
        |event: &&Value| text(event, "/type") == "Warning" && reasons.contains(&text(event, "/reason"));
    let event = view.events(object).into_iter().rev().find(warns)?;
    if after.is_some_and(|after| happened(event).is_some_and(|last| last < after)) {
        return None;
    }
    Some(Said { message: one_line(text(event, "/message")), since: began(event) })
}

/// The latest warning with one of these reasons that kube-controller-manager has not written: what it says of a claim may have
/// been mended before others took over.
pub(crate) fn warning_of_sidecar(view: &View, object: &Value, reasons: &[&str]) -> Option<Said> {
    let is_told = |event: &&Value| {
        let is_warning = text(event, "/type") == "Warning" && reasons.contains(&text(event, "/reason"));
        is_warning && author(event) != "persistentvolume-controller"
    };
    let event = view.events(object).into_iter().rev().find(is_told)?;
    Some(Said { message: one_line(text(event, "/message")), since: began(event) })
}

fn author(event: &Value) -> &str {
    match text(event, "/source/component") {
        "" => text(event, "/reportingComponent"),
        author => author,
    }
}

/// Whether somebody whose name begins so has written an event of the object.
pub(crate) fn is_by(view: &View, object: &Value, author: &str) -> bool {
    view.events(object).into_iter().any(|event| self::author(event).starts_with(author))
}
