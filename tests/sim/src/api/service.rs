//! The HTTP side: what `kube::Client` talks to.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::{Method, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::access::{Action, Rights};
use super::path::{Query, Route, Target, route};
use super::read::{self, Shape};
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::Store;
use super::watch::{Step as Next, Watch};
use super::write::{self, Writer};
use super::{ApiServer, Request};
use crate::steps::{Fault, Life, Step};

type Lines = BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>;

impl ApiServer {
    /// A client. `who` is its name in [`ApiServer::requests`] and for [`ApiServer::grant_only`]. Its requests are not
    /// steps; the process under test gets its client from [`crate::World::client`]. Must be called in a tokio runtime.
    pub fn client(&self, who: &str) -> kube::Client {
        client(self.clone(), who.to_owned(), None)
    }

    pub(crate) fn client_of(&self, who: &str, life: Life) -> kube::Client {
        client(self.clone(), who.to_owned(), Some(life))
    }
}

/// A client whose requests end here.
fn client(server: ApiServer, who: String, life: Option<Life>) -> kube::Client {
    let caller = Arc::new(Caller { server, who, life });
    let service = tower::service_fn(move |request: http::Request<Body>| -> BoxFuture<'static, _> {
        let caller = caller.clone();
        Box::pin(async move { caller.serve(request).await })
    });
    kube::Client::new(service, "default")
}

/// Who asks.
struct Caller {
    server: ApiServer,
    who: String,
    life: Option<Life>,
}

/// A request, read.
struct Asked {
    verb: &'static str,
    route: Route,
    query: Query,
    body: Value,
    content_type: String,
    shape: Shape,
    manager: String,
}

/// An answer.
enum Answer {
    Object(u16, Value),
    Watch(Box<Watch>),
}

impl Caller {
    async fn serve(
        &self,
        request: http::Request<Body>,
    ) -> Result<Response<StreamBody<Lines>>, std::io::Error> {
        let asked = read_request(request, |path| self.server.state().served.kept_at(path)).await?;
        self.server.pass_outage().await?;
        let fault = match &self.life {
            Some(life) => life.enter(asked.step()).await,
            None => None,
        };
        let latency = self.server.state().latency;
        tokio::time::sleep(latency).await;
        if let Some(life) = &self.life {
            life.stop_if_dead().await;
        }
        let answer = match &fault {
            Some(Fault::ApiError(code)) => Err(Refusal::of_code(*code)),
            Some(Fault::Conflict) => Err(Refusal::of_code(409)),
            Some(Fault::Missing) => Err(asked.missing()),
            _ => self.answer(&asked),
        };
        self.record(asked, &answer);
        tokio::time::sleep(latency).await;
        if let Some(life) = &self.life {
            life.leave(fault.as_ref()).await;
        }
        if fault == Some(Fault::LoseReply) {
            return Err(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset by peer"));
        }
        let (status, lines) = match answer {
            Ok(Answer::Object(status, object)) => (status, one(&object)),
            Ok(Answer::Watch(watch)) => (200, self.lines(*watch)),
            Err(refusal) => (refusal.code, one(&refusal.body())),
        };
        let mut response =
            Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
        if status == 429 {
            response = response.header(header::RETRY_AFTER, "1");
        }
        response.body(StreamBody::new(lines)).map_err(std::io::Error::other)
    }

    fn answer(&self, asked: &Asked) -> Result<Answer, Refusal> {
        let nothing_here =
            || Refusal::new(404, "NotFound", "the server could not find the requested resource");
        match &asked.route {
            Route::Unknown => Err(nothing_here()),
            Route::Discovery(path) => {
                let document = self.server.state().served.document(path);
                document.map(|document| Answer::Object(200, document)).ok_or_else(nothing_here)
            }
            Route::Review(plural) => {
                let state = self.server.state();
                let rights = state.rights.get(&self.who).cloned().unwrap_or_default();
                let answer = rights.review(plural, &asked.body);
                answer.map(|answer| Answer::Object(201, answer)).ok_or_else(nothing_here)
            }
            Route::Object(target) => {
                if self.server.state().served.is_hidden(target.resource.plural) {
                    return Err(nothing_here());
                }
                self.check_rights(asked, target)?;
                self.server.with(|state| object(state, asked, target))
            }
        }
    }

    fn check_rights(&self, asked: &Asked, target: &Target) -> Result<(), Refusal> {
        let state = self.server.state();
        let resource = match &target.subresource {
            Some(subresource) => format!("{}/{subresource}", target.resource.plural),
            None => target.resource.plural.to_owned(),
        };
        let (verb, group, name) = (asked.verb, target.resource.group, target.name());
        let rights = state.rights.get(&self.who);
        if rights
            .is_none_or(|rights: &Rights| rights.allow(&Action { verb, group, resource: &resource, name }))
        {
            return Ok(());
        }
        let place = if target.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", target.namespace)
        };
        let object = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
        let message = format!(
            "{}{object} is forbidden: User \"{}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {place}",
            target.resource.qualified(),
            self.who
        );
        Err(Refusal::new(403, "Forbidden", message))
    }

    fn record(&self, asked: Asked, answer: &Result<Answer, Refusal>) {
        let Step::Api { resource, subresource, .. } = asked.step() else { return };
        let (namespace, mut name) = match &asked.route {
            Route::Object(target) => (target.namespace.clone(), target.name().to_owned()),
            Route::Discovery(_) | Route::Review(_) | Route::Unknown => (String::new(), String::new()),
        };
        let status = match answer {
            Ok(Answer::Object(status, object)) => {
                if asked.verb == "create" {
                    let created = object.pointer("/metadata/name").and_then(Value::as_str);
                    name = created.unwrap_or_default().to_owned();
                }
                *status
            }
            Ok(Answer::Watch(_)) => 200,
            Err(refusal) => refusal.code,
        };
        let (who, verb) = (self.who.clone(), asked.verb.to_owned());
        let request = Request { who, verb, resource, subresource, namespace, name, status, body: asked.body };
        self.server.state().requests.push(request);
    }

    /// The lines of a watch, until its end, a break, or the death of the process (then for ever silent).
    fn lines(&self, watch: Watch) -> Lines {
        let (server, life) = (self.server.clone(), self.life.clone());
        let (changed, breaks) = (server.changed.subscribe(), server.breaks.subscribe());
        stream::unfold(
            (watch, server, life, changed, breaks),
            |(mut watch, server, life, mut changed, mut breaks)| async move {
                loop {
                    if let Some(life) = &life {
                        life.stop_if_dead().await;
                    }
                    if breaks.has_changed().unwrap_or(true) {
                        return None;
                    }
                    changed.borrow_and_update();
                    let next = {
                        let state = server.state();
                        watch.step(&state.store, state.disturbance, Instant::now())
                    };
                    match next {
                        Next::Send(line) => {
                            return Some((Ok(Frame::data(line)), (watch, server, life, changed, breaks)));
                        }
                        Next::End => return None,
                        Next::Wait(until) => tokio::select! {
                            _ = changed.changed() => {}
                            _ = breaks.changed() => return None,
                            () = tokio::time::sleep_until(until) => {}
                        },
                    }
                }
            },
        )
        .boxed()
    }
}

/// A request for a stored resource.
fn object(state: &mut super::State, asked: &Asked, target: &Target) -> Result<Answer, Refusal> {
    // A deletion's options are in its body, if it has one; the query counts only without.
    let dry_run = match (asked.verb, &asked.body) {
        ("delete" | "deletecollection", Value::Object(options)) => {
            options.get("dryRun") == Some(&json!(["All"]))
        }
        _ => asked.query.get("dryRun") == Some("All"),
    };
    let writer = Writer { manager: asked.manager.clone(), dry_run, sets_status: false };
    let written = |(status, object): (u16, Arc<Value>)| {
        Answer::Object(status, asked.shape.cut(&object).as_ref().clone())
    };
    let store = &mut state.store;
    match asked.verb {
        "get" => {
            let object = read::get(store, target)?;
            Ok(Answer::Object(200, asked.shape.cut(&object).as_ref().clone()))
        }
        "list" => read::list(store, &mut state.unread, target, &asked.query, asked.shape)
            .map(|list| Answer::Object(200, list)),
        "watch" if asked.query.is_set("sendInitialEvents") && !state.streams => Err(Refusal::new(
            422,
            "Invalid",
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        )),
        "watch" => Watch::begin(store, target.clone(), &asked.query, asked.shape)
            .map(|watch| Answer::Watch(Box::new(watch))),
        "create" => write::create(store, target, asked.body.clone(), &writer).map(written),
        "update" => write::update(store, target, asked.body.clone(), &writer).map(written),
        "patch" => write::patch(store, target, &asked.content_type, &asked.body, &writer).map(written),
        "delete" => write::delete(store, target, &asked.body, &writer).map(|(object, gone)| {
            let as_object = target.resource.returns_deleted || !gone;
            let body =
                if as_object { asked.shape.cut(&object).as_ref().clone() } else { success(target, &object) };
            Answer::Object(200, body)
        }),
        "deletecollection" => {
            let list = read::list(store, &mut state.unread, target, &asked.query, asked.shape)?;
            delete_all(store, asked, target, &writer)?;
            Ok(Answer::Object(200, list))
        }
        _ => Err(Refusal::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )),
    }
}

/// Deletes every object that a request selects.
fn delete_all(store: &mut Store, asked: &Asked, target: &Target, writer: &Writer) -> Result<(), Refusal> {
    let selector = Selector::parse(asked.query.get("labelSelector"), asked.query.get("fieldSelector"))?;
    let matching: Vec<Arc<Value>> = store
        .list(target.index, &target.namespace)
        .filter(|object| selector.matches(object))
        .cloned()
        .collect();
    for object in matching {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let one = Target {
            namespace: text("/metadata/namespace"),
            name: Some(text("/metadata/name")),
            ..target.clone()
        };
        write::delete(store, &one, &asked.body, writer)?;
    }
    Ok(())
}

/// What a deletion answers that does not answer with the object.
fn success(target: &Target, object: &Value) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {
            "name": target.name(),
            "group": target.resource.group,
            "kind": target.resource.plural,
            "uid": object.pointer("/metadata/uid"),
        },
    })
}

fn one(object: &Value) -> Lines {
    let bytes = Bytes::from(object.to_string());
    stream::once(async move { Ok(Frame::data(bytes)) }).boxed()
}

/// Reads a request; `kept_at` gives the path at which this model keeps what a path asks for.
async fn read_request(
    request: http::Request<Body>,
    kept_at: impl Fn(&str) -> String,
) -> Result<Asked, std::io::Error> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let header = |name: header::HeaderName| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let route = route(&kept_at(parts.uri.path()));
    let named = match &route {
        Route::Object(target) => target.name.is_some(),
        Route::Discovery(_) | Route::Review(_) | Route::Unknown => true,
    };
    let verb = match parts.method {
        Method::GET if !named && query.is_set("watch") => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => "unknown",
    };
    // As the API server does: the field manager is named, or is the first word of the user agent.
    let agent = header(header::USER_AGENT);
    let agent = agent.split('/').next().filter(|agent| !agent.is_empty()).unwrap_or("unknown");
    let manager = query.get("fieldManager").unwrap_or(agent).to_owned();
    Ok(Asked {
        verb,
        route,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        content_type: header(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_owned(),
        shape: Shape::of(&header(header::ACCEPT)),
        query,
        manager,
    })
}

impl Asked {
    /// The answer if there were no such object.
    fn missing(&self) -> Refusal {
        match &self.route {
            Route::Object(target) => Refusal::not_found(target.resource, target.name()),
            Route::Discovery(_) | Route::Review(_) | Route::Unknown => Refusal::of_code(404),
        }
    }

    /// What this is as a step.
    fn step(&self) -> Step {
        let (resource, subresource, object) = match &self.route {
            Route::Object(target) => (
                target.resource.plural.to_owned(),
                target.subresource.clone().unwrap_or_default(),
                super::reference(&target.namespace, target.name()),
            ),
            Route::Discovery(path) => (path.clone(), String::new(), String::new()),
            Route::Review(plural) => (plural.clone(), String::new(), String::new()),
            Route::Unknown => ("unknown".to_owned(), String::new(), String::new()),
        };
        Step::Api { verb: self.verb.to_owned(), resource, subresource, object }
    }
}
