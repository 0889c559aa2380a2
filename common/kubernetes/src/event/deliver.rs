//! Writes events in the background. They make way for the writes of objects (see [`crate::limit`]).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::correlate::{Correlator, Fate};
use super::record::Event;
use super::recorder::Recorded;
use crate::api::{self, Format, Objects};
use crate::object::WireEvent;

/// Events written at once.
const AT_ONCE: usize = 8;
/// How often an event is sent while the API server cannot be reached, and the pause in between; client-go's figures.
const TRIES: usize = 12;
const PAUSE: Duration = Duration::from_secs(10);

/// Writes events until all recorders are gone and the queue is empty. Errors are logged only.
pub async fn deliver(objects: Objects, mut events: Recorded) {
    let objects = objects.making_way();
    let mut correlator = Correlator::default();
    let mut writing = FuturesUnordered::new();
    loop {
        let next = if writing.len() < AT_ONCE {
            events.next().left_future()
        } else {
            std::future::pending().right_future()
        };
        tokio::select! {
            biased;
            Some(()) = writing.next() => {}
            next = next => match next {
                Some((source, event)) => {
                    let fate = correlator.decide(&source, &event, Instant::now().into_std());
                    if let Some(write) = prepare(&mut correlator, fate, &source, event) {
                        writing.push(send(objects.clone(), write));
                    }
                }
                None => break,
            },
        }
    }
    while writing.next().await.is_some() {}
}

struct Write {
    namespace: String,
    name: String,
    /// The whole event. An event that is gone is made again from it, under the name and with the count that it had.
    body: Value,
    /// What changes in an event that has been written before.
    patch: Option<Value>,
}

fn prepare(correlator: &mut Correlator, fate: Fate, source: &str, event: Event) -> Option<Write> {
    let namespace =
        if event.object.namespace.is_empty() { "default" } else { &event.object.namespace }.to_owned();
    let (message, name, count, patch) = match fate {
        Fate::Drop => return None,
        Fate::Create { message, count, ticket } => {
            let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
            let name = format!("{}.{nanos:x}", event.object.name);
            correlator.written(ticket, &name);
            (message, name, count, None)
        }
        Fate::Count { message, name, count, .. } => {
            let patch = json!({"count": count, "lastTimestamp": now(), "message": message});
            (message, name, count, Some(patch))
        }
    };
    let mut body = body(&namespace, &name, source, &event, &message);
    if let Some(field) = body.get_mut("count") {
        *field = json!(count);
    }
    Some(Write { namespace, name, body, patch })
}

/// Writes an event. Tries again when the API server cannot be reached, as client-go does; what it refuses is dropped.
async fn send(objects: Objects, write: Write) {
    for number in 1..=TRIES {
        match try_once(&objects, &write).await {
            Ok(()) => return,
            Err(error) if api::status(&error).is_some() || number == TRIES => return refused(&write, &error),
            // The first pause is a random part of the full one: many sidecars lose the server at the same moment.
            Err(_) if number == 1 => sleep(PAUSE.mul_f64(fastrand::f64())).await,
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn try_once(objects: &Objects, write: &Write) -> Result<(), api::Error> {
    if let Some(patch) = &write.patch {
        let (namespace, name) = (&write.namespace, &write.name);
        let reply = objects.patch::<WireEvent>(namespace, name, "", Format::Strategic, patch).await;
        match reply {
            Err(error) if api::is(&error, 404) => {}
            reply => return reply.map(drop),
        }
    }
    match objects.create::<WireEvent>(&write.namespace, &write.body).await {
        // The reply of an earlier try was lost: its name is the event's own.
        Err(error) if api::is(&error, 409) => Ok(()),
        reply => reply.map(drop),
    }
}

fn refused(write: &Write, error: &api::Error) {
    // A namespace that is going away takes no events; that is nobody's error.
    base::v!(2, "Event not written"; "event" => write.name, "namespace" => write.namespace, "err" => api::text(error));
}

fn body(namespace: &str, name: &str, source: &str, event: &Event, message: &str) -> Value {
    let (object, now) = (&event.object, now());
    let mut involved = json!({
        "apiVersion": object.api_version,
        "kind": object.kind,
        "name": object.name,
        "uid": object.uid,
    });
    if let Value::Object(map) = &mut involved {
        if !object.namespace.is_empty() {
            map.insert("namespace".to_owned(), json!(object.namespace));
        }
        if object.version != 0 {
            map.insert("resourceVersion".to_owned(), json!(object.version.to_string()));
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved,
        "reason": event.reason,
        "message": message,
        "source": {"component": source},
        "reportingComponent": source,
        "reportingInstance": "",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "type": event.kind.as_str(),
    })
}

/// Now, to the second, as the API wants it.
pub(crate) fn now() -> String {
    let seconds = Timestamp::now().as_second();
    Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::record::{Kind, ObjectRef};
    use super::super::recorder::Recorder;
    use super::*;
    use crate::object::Uid;
    use base::leadership::Leadership;
    use kube::client::Body;

    fn volume() -> ObjectRef {
        ObjectRef {
            api_version: "v1",
            kind: "PersistentVolume",
            namespace: "".into(),
            name: "pv".into(),
            uid: Uid::default(),
            version: 1,
        }
    }

    /// How often an event is sent to a server that fails so often, and then answers with this status.
    async fn sent(failures: usize, status: u16) -> usize {
        let sent = Arc::new(Mutex::new(0));
        let count = sent.clone();
        let service = tower::service_fn(move |_: http::Request<Body>| {
            let mut count = count.lock().unwrap();
            *count += 1;
            let refusal = json!({"kind": "Status", "status": "Failure", "code": status, "reason": "No"});
            let body = if status < 300 { json!({"metadata": {"name": "e"}}) } else { refusal };
            let reply =
                http::Response::builder().status(status).body(Body::from(body.to_string().into_bytes()));
            let reset = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            std::future::ready(if *count <= failures { Err(reset()) } else { Ok(reply.unwrap()) })
        });
        let client = kube::Client::new(service, "default");
        let (recorder, queue) = Recorder::new("test");
        recorder.record(Event {
            object: volume(),
            kind: Kind::Normal,
            reason: "Reason",
            message: "message".into(),
        });
        drop(recorder);
        deliver(Objects::new(client, Leadership::always()), queue).await;
        *sent.lock().unwrap()
    }

    /// The requests for three equal events, the API server having lost the first of them.
    #[tokio::test(start_paused = true)]
    async fn event_that_is_gone_is_made_again_under_its_name() {
        let requests: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let log = requests.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (log, patch) = (log.clone(), request.method() == http::Method::PATCH);
            let path = request.uri().path().to_owned();
            async move {
                let body = request.into_body().collect_bytes().await.unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let lost = patch && log.lock().unwrap().len() == 1;
                log.lock().unwrap().push((path, body));
                let (status, reply) = match lost {
                    true => (
                        404,
                        json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}),
                    ),
                    false => (201, json!({"metadata": {"name": "e"}})),
                };
                http::Response::builder().status(status).body(Body::from(reply.to_string().into_bytes()))
            }
        });
        let (recorder, queue) = Recorder::new("test");
        let delivery = tokio::spawn(deliver(
            Objects::new(kube::Client::new(service, "default"), Leadership::always()),
            queue,
        ));
        for _ in 0..3 {
            recorder.record(Event {
                object: volume(),
                kind: Kind::Normal,
                reason: "Reason",
                message: "message".into(),
            });
            sleep(Duration::from_secs(1)).await;
        }
        drop(recorder);
        delivery.await.unwrap();
        let requests = requests.lock().unwrap();
        let counts: Vec<&Value> = requests.iter().map(|(_, body)| &body["count"]).collect();
        assert_eq!(counts, [1, 2, 2, 3]);
        let name = requests[0].1["metadata"]["name"].as_str().unwrap();
        assert_eq!(requests[2].1["metadata"]["name"], name);
        assert!([1, 3].iter().all(|patch| requests[*patch].0.ends_with(name)));
    }

    #[tokio::test(start_paused = true)]
    async fn event_is_sent_again_until_the_server_answers() {
        for (failures, status, times) in
            [(0, 201, 1), (3, 201, 4), (0, 403, 1), (2, 409, 3), (99, 201, TRIES)]
        {
            assert_eq!(sent(failures, status).await, times, "{failures} failures, then {status}");
        }
    }
}
