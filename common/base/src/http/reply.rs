//! An answer of the HTTP server.

use ::http::StatusCode;

/// What a route answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body, usually text.
    pub body: String,
}

impl Reply {
    /// Plain text with a status.
    pub fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// `200 ok`.
    pub fn ok() -> Self {
        Self::text(StatusCode::OK, "ok")
    }
}
