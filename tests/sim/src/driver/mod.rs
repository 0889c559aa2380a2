//! A CSI driver in memory: an honest storage model, a script for lies and failures, and a record of every call.
//!
//! It speaks gRPC over in-memory pipes, so the sidecar's real connection code runs: deadlines, reconnection, loss.

mod apply;
mod model;
mod script;
mod service;
mod settings;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csi::{ErrorClass, redacted};
use futures::future::BoxFuture;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::{Code, Status};

use apply::Apply;
pub use model::{Model, Publication, Snapshot, Volume, id_of};
pub use script::Reply;
use script::Script;
pub use settings::Settings;

use crate::steps::{Fault, Life, Step};

/// One call, as it came and as it was answered.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method without its service: `CreateVolume`.
    pub method: String,
    /// The volume or snapshot id that it was about (for a creation the id that it gives); empty for those about none.
    pub subject: String,
    /// The request as one redacted line.
    pub text: String,
    /// `Ok`, the code of the error, or `None` while there is no answer (and if there never was one).
    pub code: Option<Code>,
    /// When it came.
    pub at: Instant,
    request: Arc<dyn Any + Send + Sync>,
}

impl Call {
    /// The request, if it is an `R`.
    pub fn request<R: 'static>(&self) -> Option<&R> {
        self.request.downcast_ref()
    }
}

#[derive(Debug, Default)]
struct State {
    settings: Settings,
    model: Model,
    script: Script,
    calls: Vec<Call>,
    /// (volume or snapshot id, node id) of the calls that somebody waits for.
    under_way: Vec<About>,
    overlaps: Vec<String>,
    /// The subjects of delayed calls that have not ended, each with its number.
    pending: BTreeMap<usize, String>,
    stopped: bool,
    pipes: Vec<AbortHandle>,
    /// Methods, and the spans that their callers named.
    traceparents: Vec<(&'static str, String)>,
}

/// The driver; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Driver {
    state: Arc<Mutex<State>>,
}

impl Driver {
    /// The header `traceparent` of each call of a method that had one.
    pub fn traceparents(&self, method: &str) -> Vec<String> {
        let state = self.state();
        state.traceparents.iter().filter(|(of, _)| *of == method).map(|(_, span)| span.clone()).collect()
    }

    /// A driver without volumes.
    pub fn new(settings: Settings) -> Driver {
        let driver = Driver::default();
        driver.state().settings = settings;
        driver
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not hide itself behind a second one here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one call: the step's fault, then the script, then the honest model.
    async fn answer<R: Apply>(&self, request: R, life: Option<&Life>) -> Result<R::Reply, Status>
    where
        R::Reply: Send,
    {
        let method = R::METHOD.rsplit('/').next().unwrap_or_default().to_owned();
        let fault = match life {
            Some(life) => life.enter(Step::Rpc { method: method.clone() }).await,
            None => None,
        };
        let (reply, latency, under_way) = self.begin(&request, &method);
        tokio::time::sleep(latency).await;
        let result = match &fault {
            Some(Fault::Rpc(code)) if !self.would_lie(&method, &under_way, *code) => {
                Err(Status::new(*code, "the fault plan says so"))
            }
            _ if self.is_pending(&under_way) => Err(Status::aborted("another call is pending")),
            _ => {
                let lies =
                    matches!(&reply, Reply::Error(code, _) if self.would_lie(&method, &under_way, *code));
                self.perform(request, if lies { Reply::Ok } else { reply }).await
            }
        };
        under_way.end(result.as_ref().map_or_else(|status: &Status| status.code(), |_| Code::Ok));
        if let Some(life) = life {
            life.leave(fault.as_ref()).await;
        }
        if fault == Some(Fault::LoseReply) {
            std::future::pending::<()>().await;
        }
        result
    }

    fn begin<R: Apply>(&self, request: &R, method: &str) -> (Reply, Duration, UnderWay) {
        let mut state = self.state();
        let subject = request.subject(&state.model);
        state.calls.push(Call {
            method: method.to_owned(),
            subject: subject.clone(),
            text: redacted(request),
            code: None,
            at: Instant::now(),
            request: Arc::new(request.clone()),
        });
        let index = state.calls.len() - 1;
        let about =
            About { method: method.to_owned(), subject: subject.clone(), node: request.node().to_owned() };
        if !subject.is_empty() {
            if state.under_way.iter().any(|other| other.collides(&about)) {
                state.overlaps.push(format!("{method} {subject} {}", about.node).trim_end().to_owned());
            }
            state.under_way.push(about.clone());
        }
        let reply = state.script.next(method, &subject);
        (reply, state.settings.latency, UnderWay { driver: self.clone(), about, index })
    }

    /// Whether another call about the same volume has not ended, and that matters.
    fn is_pending(&self, call: &UnderWay) -> bool {
        let state = self.state();
        let matters = state.settings.keeps_contract && !call.about.subject.is_empty();
        matters && state.pending.values().any(|subject| *subject == call.about.subject)
    }

    /// Whether this answer says that there is no volume, although there is, and that matters.
    fn would_lie(&self, method: &str, call: &UnderWay, code: Code) -> bool {
        let state = self.state();
        let is_final = csi::class(&Status::new(code, "")) == ErrorClass::Final;
        let creates = state.settings.keeps_contract && method == "CreateVolume";
        creates && is_final && state.model.volumes.contains_key(&call.about.subject)
    }

    /// Boxed, because a delayed reply has another inside.
    fn perform<R: Apply>(&self, request: R, reply: Reply) -> BoxFuture<'static, Result<R::Reply, Status>>
    where
        R::Reply: Send,
    {
        let driver = self.clone();
        Box::pin(async move {
            match reply {
                Reply::Ok => driver.apply(&request),
                Reply::Error(code, message) => Err(Status::new(code, message)),
                Reply::ErrorAfter(code, message) => {
                    driver.apply(&request)?;
                    Err(Status::new(code, message))
                }
                Reply::Hang => std::future::pending().await,
                Reply::LostReply => {
                    // Refused or not, nobody will know.
                    let _ = driver.apply(&request);
                    std::future::pending().await
                }
                Reply::Edited(edit) => {
                    let mut reply = driver.apply(&request)?;
                    edit(&mut reply);
                    Ok(reply)
                }
                Reply::Delay(time, inner) => {
                    // A task of its own: the driver goes on when the caller gives up.
                    let number = driver.begin_pending(&request);
                    let work = tokio::spawn(async move {
                        tokio::time::sleep(time).await;
                        let result = driver.perform(request, *inner).await;
                        driver.state().pending.remove(&number);
                        result
                    });
                    work.await.unwrap_or_else(|error| Err(Status::internal(error.to_string())))
                }
            }
        })
    }

    fn begin_pending<R: Apply>(&self, request: &R) -> usize {
        let mut state = self.state();
        let subject = request.subject(&state.model);
        let number = state.pending.last_key_value().map_or(0, |(last, _)| last + 1);
        state.pending.insert(number, subject);
        number
    }

    fn apply<R: Apply>(&self, request: &R) -> Result<R::Reply, Status> {
        let mut state = self.state();
        let State { settings, model, .. } = &mut *state;
        request.apply(model, settings)
    }

    // ---- for the test ----

    /// Every call so far, Probe and capability calls too.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The calls of `method`.
    pub fn calls_of(&self, method: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.method == method).collect()
    }

    /// Forgets [`Driver::calls`] and [`Driver::overlaps`]. Not while a call is under way.
    pub fn clear_calls(&self) {
        let mut state = self.state();
        state.calls.clear();
        state.overlaps.clear();
    }

    /// Calls that came while another about the same volume, and the same node if both are about one, was still being
    /// waited for. Should be empty.
    pub fn overlaps(&self) -> Vec<String> {
        self.state().overlaps.clone()
    }

    /// The next calls of `method` are answered so, in this order; then honestly again.
    pub fn script(&self, method: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state().script.queue(method, "", replies.into_iter().collect());
    }

    /// As [`Driver::script`], for calls about one volume or snapshot id only.
    pub fn script_for(&self, method: &str, subject: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state().script.queue(method, subject, replies.into_iter().collect());
    }

    /// Every call of `method` is answered so, unless [`Driver::script`] has something for it.
    pub fn always(&self, method: &str, reply: Reply) {
        self.state().script.stand(method, "", reply);
    }

    /// Every call of `method` about this volume or snapshot id is answered so.
    pub fn always_for(&self, method: &str, subject: &str, reply: Reply) {
        self.state().script.stand(method, subject, reply);
    }

    /// Forgets all scripted replies: from now on it is honest.
    pub fn be_honest(&self) {
        self.state().script.clear();
    }

    /// Changes how the driver presents itself.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state().settings);
    }

    /// What it has.
    pub fn model(&self) -> Model {
        self.state().model.clone()
    }

    /// Changes what it has, behind everybody's back.
    pub fn change_model(&self, change: impl FnOnce(&mut Model)) {
        change(&mut self.state().model);
    }

    /// Its volumes by id.
    pub fn volumes(&self) -> BTreeMap<String, Volume> {
        self.state().model.volumes.clone()
    }

    /// (volume id, node id) of every publication.
    pub fn publications(&self) -> Vec<(String, String)> {
        let volumes = self.volumes();
        let pairs = volumes
            .values()
            .flat_map(|volume| volume.published.keys().map(|node| (volume.id.clone(), node.clone())));
        pairs.collect()
    }

    /// Cuts every connection; calls under way end. What it has survives, and it answers at once again. Says how many
    /// connections there were.
    pub fn restart(&self) -> usize {
        let pipes = std::mem::take(&mut self.state().pipes);
        let open = pipes.iter().filter(|pipe| !pipe.is_finished()).count();
        for pipe in pipes {
            pipe.abort();
        }
        open
    }

    /// As [`Driver::restart`], but it does not come back before [`Driver::start`].
    pub fn stop(&self) {
        self.state().stopped = true;
        self.restart();
    }

    /// Ends [`Driver::stop`].
    pub fn start(&self) {
        self.state().stopped = false;
    }
}

/// What a call is about; node and subject are empty if it names none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct About {
    method: String,
    subject: String,
    node: String,
}

impl About {
    /// Whether two calls must not be under way at once: those about one volume, and one node if both name one. A volume may
    /// grow while it is modified.
    fn collides(&self, other: &Self) -> bool {
        let grows_and_is_modified = |one: &Self, other: &Self| {
            one.method == "ControllerExpandVolume" && other.method == "ControllerModifyVolume"
        };
        self.subject == other.subject
            && (self.node == other.node || self.node.is_empty() || other.node.is_empty())
            && !grows_and_is_modified(self, other)
            && !grows_and_is_modified(other, self)
    }
}

/// A call that somebody waits for.
struct UnderWay {
    driver: Driver,
    about: About,
    index: usize,
}

impl UnderWay {
    fn end(self, code: Code) {
        if let Some(call) = self.driver.state().calls.get_mut(self.index) {
            call.code = Some(code);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.driver.state();
        if let Some(place) = state.under_way.iter().position(|about| *about == self.about) {
            state.under_way.swap_remove(place);
        }
    }
}
