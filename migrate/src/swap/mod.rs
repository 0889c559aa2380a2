//! Replaces one volume, step by step; may be broken off and taken up again anywhere.

mod apply;
mod decide;

use std::time::Duration;

use kubernetes::api;
use serde_json::Value;
use tokio::time::sleep;

use crate::cluster::users;
use crate::decide::Users;
use crate::hold::{Hold, HoldError};
use crate::journal::{Deleting, Journal, JournalError};
use crate::prepare::{PlanInput, claim_key};
use crate::record::{Ended, Record, text};
use crate::requests::{Requests, VOLUMES, claims, is_refusal};
pub(crate) use decide::held;
use decide::{Step, View, decide};

/// How long kube-controller-manager may take to bind a volume.
const LIMIT: Duration = Duration::from_secs(120);
/// How long others may take to take their finalizers off a deleted volume.
const RELEASE: Duration = Duration::from_secs(30);
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How often others may change the objects under our hands.
const CONFLICTS: usize = 100;
/// More steps than any way has.
const STEPS: usize = 1000;

/// Why a volume stays on its way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwapError {
    /// The API server refuses.
    #[error("cannot {0}: {1}")]
    Refused(&'static str, String),
    /// The API server refuses the new object, though it said that it would take it.
    #[error("the API server refuses the new object, though it said that it would take it: {0}")]
    Away(String),
    /// The same, and everything is as it was.
    #[error(
        "the API server refuses the new object, though it said that it would take it: {0}; it is created again as it was"
    )]
    Restored(String),
    /// The API server does not answer, or not now.
    #[error("cannot {0}: {1}")]
    NoAnswer(&'static str, String),
    /// The undo file cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Claims cannot be kept.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// It does not become Bound.
    #[error(
        "kube-controller-manager has not bound it within {} s: see that kube-controller-manager runs, then run this command again",
        LIMIT.as_secs()
    )]
    NotBound,
    /// A finalizer of somebody else keeps the deleted object.
    #[error("it is deleted, but {0}: the new volume cannot be created before that finalizer is off")]
    Held(String),
    /// Others change it all the time.
    #[error("others change it all the time")]
    Conflicts,
}

impl SwapError {
    /// What a request came to that was to do `what`.
    pub(crate) fn of(what: &'static str, error: &kube::Error) -> Self {
        match is_refusal(error) {
            true => Self::Refused(what, api::text(error)),
            false => Self::NoAnswer(what, api::text(error)),
        }
    }
}

/// One volume on its way.
pub(crate) struct Swap<'a, 'h> {
    pub(crate) requests: &'a Requests,
    pub(crate) journal: &'a mut Journal,
    pub(crate) hold: &'a mut Hold<'h>,
    pub(crate) input: &'a PlanInput,
    /// Why it should not be replaced, if nothing has been deleted.
    pub(crate) against: Option<String>,
}

/// What hangs on a volume.
pub(crate) struct Seen {
    /// The claim of the name that the volume gives.
    pub(crate) claim: Option<Value>,
    pub(crate) users: Users,
}

/// Reads what hangs on a volume.
pub(crate) async fn see(requests: &Requests, volume: &Value) -> Result<Seen, kube::Error> {
    let key = claim_key(volume);
    let claim = match key.as_ref().and_then(|key| key.split_once('/')) {
        Some((namespace, name)) => requests.get(&claims(namespace), name).await?,
        None => None,
    };
    let users = users(requests.client(), text(volume, "/metadata/name"), key.as_deref()).await?;
    Ok(Seen { claim, users })
}

/// What is known of it.
struct Known {
    record: Record,
    volume: Option<Value>,
    claim: Option<Value>,
    deleting: Option<Deleting>,
    created: Option<String>,
    tried: bool,
    proved: bool,
    judged: bool,
    refused: Option<String>,
    /// Why the API server refuses the new volume.
    unfit: Option<String>,
}

/// A refusal that asks for another look at the objects.
fn is_stale(error: &kube::Error) -> bool {
    let is_missing =
        |error| api::status(error).is_some_and(|status| status.code == 404 && status.reason == "NotFound");
    api::is(error, 409) || api::is_for_another(error) || is_missing(error)
}

impl Swap<'_, '_> {
    /// Goes on with the volume to the end that it can have; what ended it is told if it is not the usual end. `fresh`: volume
    /// and claim have just been read, and the record is made of them.
    ///
    /// # Errors
    /// It cannot go on now. What is done is done, and the next call takes it from there.
    pub(crate) async fn run(
        &mut self,
        name: &str,
        fresh: Option<(Value, Option<Value>)>,
    ) -> Result<(Ended, Option<String>), SwapError> {
        let Some(entry) = self.journal.entry(name) else { return Ok((Ended::AsItWas, None)) };
        let judged = fresh.is_some();
        let (volume, claim) = fresh.map_or((None, None), |(volume, claim)| (Some(volume), claim));
        let mut known = Known {
            record: entry.record.clone(),
            deleting: entry.deleting.clone(),
            created: entry.created.clone(),
            volume,
            claim: None,
            tried: false,
            proved: false,
            judged,
            refused: self.against.clone(),
            unfit: entry.unfit.clone(),
        };
        known.claim = known.own(claim);
        if !judged {
            self.look(&mut known).await?;
        }
        let (mut steps, mut conflicts) = (0, 0);
        loop {
            steps += 1;
            let step = decide(&known.view());
            if let Step::End(how, why) = step {
                self.journal.ended(name, how)?;
                return match known.unfit.filter(|_| how == Ended::AsItWas && known.created.is_some()) {
                    Some(unfit) => Err(SwapError::Restored(unfit)),
                    None => Ok((how, why)),
                };
            }
            if self.perform(step, &mut known).await? {
                match steps > STEPS {
                    true => return Err(SwapError::Conflicts),
                    false => continue,
                }
            }
            conflicts += 1;
            if conflicts > CONFLICTS {
                return Err(SwapError::Conflicts);
            }
            sleep(PAUSES.0).await;
            self.look(&mut known).await?;
        }
    }

    /// Reads both objects.
    async fn look(&self, known: &mut Known) -> Result<(), SwapError> {
        let failed = |error| SwapError::of("read it", &error);
        known.volume = self.requests.get(VOLUMES, known.record.name()).await.map_err(failed)?;
        if let Some(bound) = &known.record.claim {
            let claim = self.requests.get(&claims(&bound.namespace), &bound.name).await.map_err(failed)?;
            known.claim = known.own(claim);
        }
        known.judged = false;
        Ok(())
    }

    /// Does one step. `false`: others were quicker, and the objects must be looked at again.
    async fn perform(&mut self, step: Step, known: &mut Known) -> Result<bool, SwapError> {
        // Nothing is deleted before these: a refusal puts everything back.
        let is_early = matches!(step, Step::Judge | Step::Try | Step::Retain | Step::Mark | Step::Prove);
        let (what, done) = match step {
            Step::Judge => return self.judge(known).await,
            Step::Try => ("ask for the new volume", self.ask(known).await),
            Step::Retain => ("set its reclaim policy", self.retain(known).await),
            Step::PutBack(policy) => ("set its reclaim policy", self.put_back(known, policy).await),
            Step::Mark => ("mark its claim", self.mark(known).await),
            Step::Unmark { undone } => ("free its claim", self.unmark(known, undone).await),
            Step::Prove => return self.prove(known).await,
            Step::Delete => return self.delete(known).await,
            Step::Spare => {
                self.spare(known)?;
                return Ok(true);
            }
            Step::NoteDeleted => {
                self.note_deleted(known)?;
                return Ok(true);
            }
            Step::Restore => return self.restore(known).await,
            Step::Release => {
                self.note_seen(known)?;
                ("take the finalizers off it", self.release(known).await)
            }
            Step::AwaitRelease => return self.wait(known, &Step::AwaitRelease, RELEASE).await,
            Step::Create => return self.create(known).await,
            Step::NoteCreated => {
                self.note_created(known)?;
                return Ok(true);
            }
            Step::AwaitBound => return self.wait(known, &Step::AwaitBound, LIMIT).await,
            Step::End(..) => return Ok(true),
        };
        match done {
            Ok(()) => Ok(true),
            Err(error) if is_stale(&error) => Ok(false),
            Err(error) if is_early && is_refusal(&error) => {
                known.refused = Some(format!("cannot {what}: {}", api::text(&error)));
                Ok(true)
            }
            Err(error) => Err(SwapError::of(what, &error)),
        }
    }
}

impl Known {
    fn view(&self) -> View<'_> {
        View {
            record: &self.record,
            volume: self.volume.as_ref(),
            claim: self.claim.as_ref(),
            deleting: self.deleting.as_ref(),
            created: self.created.as_deref(),
            unfit: self.unfit.as_deref(),
            tried: self.tried,
            proved: self.proved,
            judged: self.judged,
            against: self.refused.as_deref(),
        }
    }

    /// The claim, if it is the one that is written down.
    fn own(&self, claim: Option<Value>) -> Option<Value> {
        let bound = self.record.claim.as_ref()?;
        claim.filter(|claim| text(claim, "/metadata/uid") == bound.uid)
    }
}
