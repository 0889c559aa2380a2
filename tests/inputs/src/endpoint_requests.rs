//! What strangers send to the HTTP endpoint.

use base::http::bearer;
use base::status::{Asked, Board, html, json};
use http::HeaderValue;

use crate::random::texts;

pub(crate) fn bearer_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln",
        "bearer  abc ",
        "Basic dXNlcjp3b3Jk",
        "Bearer",
        "Bearer \t x",
    ])
}

/// The header `Authorization`.
///
/// # Panics
/// When what is found is no token: empty, too long, with a space around it, or not of the header.
pub fn bearer_header(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let Some(token) = bearer(&value) else { return };
    assert!(!token.is_empty() && token.len() <= 16 * 1024 && token.trim() == token, "{token:?}");
    assert!(value.to_str().is_ok_and(|value| value.contains(token)), "{token:?} is not of {value:?}");
}

pub(crate) fn query_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "format=json",
        "object=default%2Fdata",
        "object=a&format=json&object=b",
        "object=%3Cscript%3Ealert(1)%3C/script%3E",
        "%",
        "object=%ff%00\"&format",
    ])
}

/// The query of a request for the status page, and the page about the object that it names.
///
/// # Panics
/// When the name adds an element to the page, or the page for programs cannot be read.
pub fn status_query(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else { return };
    let asked = Asked::parse(query);
    let board = Board::default();
    let page = |object: Option<&str>| html::render(&board.gather(object));
    let Some(object) = asked.object.as_deref() else { return };
    let elements = |page: &str| page.matches('<').count();
    assert_eq!(elements(&page(Some(object))), elements(&page(Some("x"))), "{object:?} adds an element");
    let programs = json::render(&board.gather(Some(object)));
    assert!(serde_json::from_str::<serde_json::Value>(&programs).is_ok(), "{programs}");
}
