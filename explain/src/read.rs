//! The only file that reads objects of the API server: it reads what a decision asks, and watches it.

use std::time::Duration;

use futures::StreamExt as _;
use kube::Client;
use kube::api::{GetParams, ListParams, Request, WatchParams};
use kube::core::WatchEvent;
use kubernetes::api::{self, Error};
use kubernetes::object::is_subdomain;
use kubernetes::permission::Missing;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc::Sender;

use crate::ask::{Ask, Kind, Resource};
use crate::view::Found;

/// How long a watch stays open, in seconds.
const LIFETIME: u32 = 290;
/// The pause before a watch is opened anew.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The answer of the API server.
pub(crate) async fn read(client: &Client, ask: &Ask) -> Found {
    // Some names are texts that users write. One that would lead the request elsewhere is no object's.
    if [&ask.name, &ask.namespace].iter().any(|part| !part.is_empty() && !is_subdomain(part)) {
        return if ask.is_list() { Found::Objects(Vec::new()) } else { Found::Nothing };
    }
    let answer = async {
        if ask.is_list() { list(client, ask).await.map(Found::Objects) } else { one(client, ask).await }
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => failed(ask, &error),
        Err(_) => Found::Failed(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn failed(ask: &Ask, error: &Error) -> Found {
    if api::is_missing(error, &ask.name) {
        return Found::Nothing;
    }
    match api::status(error).map(|status| status.code) {
        Some(404) => Found::NoKind,
        Some(403) => Found::Refused(rule(ask, if ask.is_list() { "list" } else { "get" })),
        Some(_) | None => Found::Failed(api::text(error)),
    }
}

/// The rule that a role needs.
fn rule(ask: &Ask, verb: &'static str) -> String {
    let Resource { group, plural, .. } = ask.kind.resource();
    Missing { group, resource: plural, verb }.rule()
}

async fn one(client: &Client, ask: &Ask) -> Result<Found, Error> {
    let request = Request::new(ask.path());
    let request = match ask.kind {
        // What is in a Secret is nobody's business here.
        Kind::Secret => request.get_metadata(&ask.name, &GetParams::default()),
        _ => request.get(&ask.name, &GetParams::default()),
    };
    client
        .request::<Value>(request.map_err(Error::BuildRequest)?)
        .await
        .map(|object| Found::Object(Box::new(object)))
}

async fn list(client: &Client, ask: &Ask) -> Result<Vec<Value>, Error> {
    let mut objects = Vec::new();
    let params = ListParams::default().fields(&ask.fields);
    api::pages(client, &Request::new(ask.path()), params, |object| objects.push(object)).await?;
    Ok(objects)
}

/// An object of which nothing is read: that it changed is enough.
#[derive(Debug, Clone, Deserialize)]
struct Changed {}

/// Watches what was asked for ever, metadata only, and tells each time that it may have changed. Each watch begins with what
/// is there, so nothing is missed between two of them.
pub(crate) async fn watch(client: Client, ask: Ask, tell: Sender<Ask>) {
    loop {
        match follow(&client, &ask, &tell).await {
            Ok(()) => {}
            Err(error) if api::is(&error, 403) => {
                let rule = rule(&ask, "watch");
                eprintln!("not watched: {}: a role needs {rule}", ask.words());
                return;
            }
            // A kind that is not served, or an API server that is away: ask again later.
            Err(_) => {
                tokio::time::sleep(5 * PAUSE).await;
                // What is not there any more shows in no event.
                if tell.send(ask.clone()).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(client: &Client, ask: &Ask, tell: &Sender<Ask>) -> Result<(), Error> {
    let fields = if ask.is_list() { ask.fields.clone() } else { format!("metadata.name={}", ask.name) };
    let params = WatchParams {
        field_selector: Some(fields).filter(|fields| !fields.is_empty()),
        timeout: Some(LIFETIME),
        ..WatchParams::default()
    };
    // Without a version the watch begins with the newest state.
    let request = Request::new(ask.path()).watch_metadata(&params, "").map_err(Error::BuildRequest)?;
    let events = client.request_events::<Changed>(request).await?;
    let mut events = events.boxed();
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_) => {
                if tell.send(ask.clone()).await.is_err() {
                    return Ok(());
                }
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err(Error::Api(status)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
