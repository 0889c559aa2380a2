//! One numbered sequence over everything that the process under test asks of the outside: API requests and RPCs.
//!
//! A fault plan says what goes wrong at which step, or at the next steps of a kind. Numbers begin at 1 and go on after a
//! restart of the process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tonic::Code;

/// What goes wrong at a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before the request has any effect.
    CrashBefore,
    /// The request has its effect; the process dies before it learns the answer.
    CrashAfter,
    /// The request has its effect; the answer is lost. An API request fails as if the connection broke, an RPC never
    /// ends by itself (the caller's deadline ends it).
    LoseReply,
    /// An API request is refused with this HTTP status and has no effect. RPCs ignore it. 404 does not name the object: so
    /// answers a proxy, or a server that does not know the kind.
    ApiError(u16),
    /// An API request is answered as if its object were gone. RPCs ignore it.
    Missing,
    /// An API request is refused as if somebody else had changed the object (409). RPCs ignore it.
    Conflict,
    /// An RPC fails with this code and has no effect. API requests ignore it.
    Rpc(Code),
    /// The request has its effect after this time.
    Delay(Duration),
    /// The request has its effect at once; the answer comes after this time.
    LateReply(Duration),
    /// Every watch ends just before the request, and the history is forgotten: everything is listed anew.
    BreakWatches,
    /// The driver restarts just before the request: its connections are cut, what it has survives.
    RestartDriver,
}

impl Fault {
    /// Whether it happens to the world just before the request, and not to the request.
    fn is_about_the_world(&self) -> bool {
        matches!(self, Fault::BreakWatches | Fault::RestartDriver)
    }

    /// Whether the fault can happen at this step.
    pub(crate) fn is_for(&self, step: &Step) -> bool {
        match self {
            Fault::ApiError(_) | Fault::Missing | Fault::Conflict => matches!(step, Step::Api { .. }),
            Fault::Rpc(_) => matches!(step, Step::Rpc { .. }),
            Fault::CrashBefore
            | Fault::CrashAfter
            | Fault::LoseReply
            | Fault::Delay(_)
            | Fault::LateReply(_)
            | Fault::BreakWatches
            | Fault::RestartDriver => true,
        }
    }
}

/// One request of the process under test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An API request.
    Api {
        /// RBAC's word: get list watch create update patch delete deletecollection.
        verb: String,
        /// The resource's plural, or the path of a discovery document.
        resource: String,
        /// `status`, or empty.
        subresource: String,
        /// `namespace/name`, `name`, or empty for a collection.
        object: String,
    },
    /// An RPC, by its method: `CreateVolume`.
    Rpc {
        /// The method without its service.
        method: String,
    },
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Rpc { method } => f.write_str(method),
            Step::Api { verb, resource, subresource, object } => {
                let slash = if subresource.is_empty() { "" } else { "/" };
                write!(f, "{verb} {resource}{slash}{subresource} {object}")?;
                Ok(())
            }
        }
    }
}

impl Step {
    /// Whether this is `verb` on `resource` (`volumeattachments/status` for a subresource).
    pub fn is(&self, wanted_verb: &str, wanted_resource: &str) -> bool {
        match self {
            Step::Rpc { .. } => false,
            Step::Api { verb, resource, subresource, .. } => {
                let (plural, sub) = wanted_resource.split_once('/').unwrap_or((wanted_resource, ""));
                verb == wanted_verb && resource == plural && subresource == sub
            }
        }
    }

    /// Whether this is the RPC `method`.
    pub fn is_rpc(&self, wanted: &str) -> bool {
        matches!(self, Step::Rpc { method } if method == wanted)
    }
}

type Condition = Box<dyn Fn(&Step) -> bool + Send>;
/// Does to the world what a fault says that is not about the request itself. Whether that changed anything.
type Disturb = Arc<dyn Fn(&Fault) -> bool + Send + Sync>;

#[derive(Default)]
struct State {
    taken: Vec<Step>,
    planned: BTreeMap<usize, Fault>,
    rules: Vec<(Condition, usize, Fault)>,
    fired: Vec<(usize, Fault)>,
    disturb: Option<Disturb>,
}

/// The sequence and its fault plan; clones share it.
#[derive(Clone, Default)]
pub struct Steps {
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steps").field("taken", &self.count()).finish()
    }
}

impl Steps {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere must not hide itself behind a second one here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At step `number` (from 1), `fault` happens.
    pub fn plan(&self, number: usize, fault: Fault) {
        self.state().planned.insert(number, fault);
    }

    /// At the next `times` steps for which `condition` holds, `fault` happens.
    pub fn on(&self, condition: impl Fn(&Step) -> bool + Send + 'static, times: usize, fault: Fault) {
        self.state().rules.push((Box::new(condition), times, fault));
    }

    /// How many steps there have been.
    pub fn count(&self) -> usize {
        self.state().taken.len()
    }

    /// All steps so far; the first is number 1.
    pub fn taken(&self) -> Vec<Step> {
        self.state().taken.clone()
    }

    /// The faults that happened and had an effect, with their step's number.
    pub fn fired(&self) -> Vec<(usize, Fault)> {
        self.state().fired.clone()
    }

    /// How faults that are not about a request are done.
    pub(crate) fn disturb_by(&self, disturb: impl Fn(&Fault) -> bool + Send + Sync + 'static) {
        self.state().disturb = Some(Arc::new(disturb));
    }

    /// Counts a step and tells what is to go wrong at it. A fault that cannot happen at such a step, or changes nothing,
    /// does not count.
    fn take(&self, step: Step) -> Option<Fault> {
        let mut state = self.state();
        let number = state.taken.len() + 1;
        let mut fault = state.planned.remove(&number).filter(|fault| fault.is_for(&step));
        if fault.is_none()
            && let Some(rule) = state
                .rules
                .iter_mut()
                .find(|(condition, times, fault)| *times > 0 && fault.is_for(&step) && condition(&step))
        {
            rule.1 -= 1;
            fault = Some(rule.2.clone());
        }
        state.taken.push(step);
        let fault = fault?;
        let disturb = state.disturb.clone().filter(|_| fault.is_about_the_world());
        // What disturbs the world may look at its steps.
        drop(state);
        if disturb.is_none_or(|disturb| disturb(&fault)) {
            self.state().fired.push((number, fault.clone()));
        }
        Some(fault)
    }
}

/// One life of the process under test: what it asks passes here, until it dies.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    steps: Steps,
    dead: Arc<AtomicBool>,
    died: watch::Sender<bool>,
}

impl Life {
    pub(crate) fn new(steps: Steps) -> Life {
        Life { steps, dead: Arc::new(AtomicBool::new(false)), died: watch::Sender::new(false) }
    }

    /// A request arrives. Returns the fault that the caller must act on; crashes never return.
    pub(crate) async fn enter(&self, step: Step) -> Option<Fault> {
        self.stop_if_dead().await;
        let fault = self.steps.take(step);
        match &fault {
            Some(Fault::CrashBefore) => self.die().await,
            Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
            _ => {}
        }
        self.stop_if_dead().await;
        fault
    }

    /// The answer is about to be sent. Crashes never return.
    pub(crate) async fn leave(&self, fault: Option<&Fault>) {
        if fault == Some(&Fault::CrashAfter) {
            self.die().await;
        }
        if let Some(Fault::LateReply(time)) = fault {
            tokio::time::sleep(*time).await;
        }
        self.stop_if_dead().await;
    }

    /// Nothing more comes out of a dead process, not even from tasks that outlive it here.
    pub(crate) async fn stop_if_dead(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    async fn die(&self) {
        self.kill();
        std::future::pending::<()>().await;
    }

    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.died.send_replace(true);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Ends when the process is dead.
    pub(crate) async fn ended(&self) {
        let mut died = self.died.subscribe();
        // The sender is in `self`, so this cannot fail while we wait.
        let _ = died.wait_for(|died| *died).await;
    }
}
