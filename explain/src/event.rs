//! The events of an object: what others have written about it.

use jiff::Timestamp;
use serde_json::Value;

use crate::field::{one_line, text};
use crate::view::{View, began};

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
    let warns =
        |event: &&Value| text(event, "/type") == "Warning" && reasons.contains(&text(event, "/reason"));
    let event = view.events(object).into_iter().rev().find(warns)?;
    Some(Said { message: one_line(text(event, "/message")), since: began(event) })
}

/// Whether somebody whose name begins so has written an event of the object.
pub(crate) fn is_by(view: &View, object: &Value, author: &str) -> bool {
    view.events(object).into_iter().any(|event| text(event, "/source/component").starts_with(author))
}
