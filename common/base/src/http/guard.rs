//! Who may read the pages of the HTTP server.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use ::http::header::AUTHORIZATION;
use ::http::{HeaderMap, HeaderValue, StatusCode};

use super::reply::Reply;
use super::tls::Tls;
use crate::secret::SecretValue;

/// A longer token is none.
const LONGEST: usize = 16 * 1024;

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It has no token, or one that nobody knows.
    Unknown,
    /// This user may not.
    Forbidden {
        /// The user.
        user: String,
    },
    /// It cannot be found out: why.
    Unclear(String),
}

impl Refusal {
    /// One line for whoever asked.
    pub(super) fn reply(&self, path: &str) -> Reply {
        match self {
            Self::Unknown => Reply::text(
                StatusCode::UNAUTHORIZED,
                "401 unauthorized: send a valid token of this cluster as \"Authorization: Bearer TOKEN\"\n",
            ),
            Self::Forbidden { user } => Reply::text(
                StatusCode::FORBIDDEN,
                format!(
                    "403 forbidden: user {user:?} needs a ClusterRole with nonResourceURLs [{path:?}], verbs [\"get\"]\n"
                ),
            ),
            Self::Unclear(why) => Reply::text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("503 cannot find out whether the token may read this: {why}\n"),
            ),
        }
    }
}

/// Decides whether a token may read a path.
pub type Decision = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

/// What a guard is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The bearer token.
    pub token: SecretValue,
    /// The path that it is to read.
    pub path: String,
    /// Who sent it. However much one peer asks, others must get their answer.
    pub peer: IpAddr,
}

/// Asks whether a token may read a path.
pub type Guard = Arc<dyn Fn(Question) -> Decision + Send + Sync>;

/// How the server is reached.
#[derive(Clone, Default)]
pub struct Access {
    /// With TLS; without it, in the clear.
    pub tls: Option<Arc<Tls>>,
    /// Who may read metrics and the status page; nobody is asked about health. `None`: everybody.
    pub guard: Option<Guard>,
}

impl Access {
    /// Whether a request with these headers may read `path`.
    ///
    /// # Errors
    /// It may not.
    pub(super) async fn check(&self, headers: &HeaderMap, path: &str, peer: IpAddr) -> Result<(), Refusal> {
        let Some(guard) = &self.guard else { return Ok(()) };
        let token = headers.get(AUTHORIZATION).and_then(bearer).ok_or(Refusal::Unknown)?;
        guard(Question { token: token.into(), path: path.to_owned(), peer }).await
    }
}

/// The bearer token in the header `Authorization`, if there is one in it.
pub fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    let is_token = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= LONGEST;
    is_token.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_that_of_the_bearer_scheme() {
        for (value, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("Bearer ", None),
            ("Bearer", None),
            ("abc", None),
        ] {
            assert_eq!(bearer(&HeaderValue::from_static(value)), expected, "{value:?}");
        }
        let long = format!("Bearer {}", "a".repeat(LONGEST + 1));
        assert_eq!(bearer(&HeaderValue::from_str(&long).unwrap()), None);
    }

    #[test]
    fn refusals_are_one_line_each_and_say_what_to_do() {
        let forbidden = Refusal::Forbidden { user: "system:serviceaccount:m:prometheus".to_owned() };
        for (refusal, status, text) in [
            (Refusal::Unknown, 401, "Authorization: Bearer TOKEN"),
            (
                forbidden,
                403,
                "user \"system:serviceaccount:m:prometheus\" needs a ClusterRole with nonResourceURLs [\"/metrics\"]",
            ),
            (Refusal::Unclear("no answer".to_owned()), 503, "no answer"),
        ] {
            let reply = refusal.reply("/metrics");
            assert_eq!((reply.status.as_u16(), reply.body.matches('\n').count()), (status, 1));
            assert!(reply.body.contains(text), "{}", reply.body);
        }
    }
}
