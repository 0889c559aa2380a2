//! Answers that are not the object asked for: the API server's `Status`.

use serde_json::{Value, json};

use super::resource::Resource;

/// A request that the API server refuses.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// HTTP status.
    pub(crate) code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { code, reason, message: message.into(), details: json!({}) }
    }

    /// An answer with a code and nothing else to say; faults are made of these.
    pub(crate) fn of_code(code: u16) -> Refusal {
        let (reason, message) = match code {
            400 => ("BadRequest", "the request is malformed"),
            401 => ("Unauthorized", "Unauthorized"),
            403 => ("Forbidden", "forbidden by the fault plan"),
            404 => ("NotFound", "the server could not find the requested resource"),
            409 => (
                "Conflict",
                "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version and try again",
            ),
            410 => ("Expired", "The resourceVersion for the provided watch is too old."),
            422 => ("Invalid", "the server rejected our request due to an error in our request"),
            429 => ("TooManyRequests", "the server is busy"),
            500 => ("InternalError", "Internal error occurred"),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => ("Timeout", "the server was unable to return a response in the time allotted"),
            _ => ("Unknown", "the fault plan says so"),
        };
        Refusal::new(code, reason, message)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "BadRequest", message)
    }

    fn about(mut self, resource: &Resource, name: &str) -> Refusal {
        self.details = json!({ "name": name, "group": resource.group, "kind": resource.plural });
        self
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Refusal {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Refusal::new(404, "NotFound", message).about(resource, name)
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Refusal {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Refusal::new(409, "AlreadyExists", message).about(resource, name)
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Refusal {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Refusal::new(409, "Conflict", message).about(resource, name)
    }

    /// The object was changed since the caller read it.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Refusal {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Refusal::conflict(resource, name, why)
    }

    pub(crate) fn invalid(resource: &Resource, name: &str, why: impl std::fmt::Display) -> Refusal {
        let kind = if resource.group.is_empty() {
            resource.kind.to_owned()
        } else {
            format!("{}.{}", resource.kind, resource.group)
        };
        let mut refusal = Refusal::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {why}"));
        refusal.details = json!({ "name": name, "group": resource.group, "kind": resource.kind });
        refusal
    }

    /// The object that the client gets.
    pub(crate) fn body(&self) -> Value {
        let mut details = self.details.clone();
        if let (429, Some(details)) = (self.code, details.as_object_mut()) {
            details.insert("retryAfterSeconds".to_owned(), json!(1));
        }
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": (!self.reason.is_empty()).then_some(self.reason),
            "details": details,
            "code": self.code,
        })
    }
}
