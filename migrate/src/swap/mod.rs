//! Replaces one volume, step by step; may be broken off and taken up again anywhere.

mod decide;

use std::time::Duration;

use kubernetes::api;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::change::{merge_patch, put, reversed};
use crate::hold::{Hold, HoldError};
use crate::journal::{Journal, JournalError};
use crate::record::{Ended, MARK, RETAIN, Record, text, without_managers};
use crate::requests::{Requests, VOLUMES, claims};
pub(crate) use decide::held;
use decide::{Step, View, decide};

/// How long kube-controller-manager may take to bind a volume.
const LIMIT: Duration = Duration::from_secs(120);
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How often others may change the objects under our hands.
const CONFLICTS: usize = 100;

/// Why a volume stays on its way.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// The API server refuses, or does not answer.
    #[error("cannot {0}: {1}")]
    Api(&'static str, String),
    /// The undo file cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Claims cannot be kept.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// It does not become Bound.
    #[error("kube-controller-manager has not bound it within {} s", LIMIT.as_secs())]
    NotBound,
    /// Others change it all the time.
    #[error("others change it all the time")]
    Conflicts,
}

/// One volume on its way.
pub(crate) struct Swap<'a, 'h> {
    pub(crate) requests: &'a Requests,
    pub(crate) journal: &'a mut Journal,
    pub(crate) hold: &'a mut Hold<'h>,
    /// What stands against going on, as long as nothing has been deleted.
    pub(crate) against: Option<String>,
}

/// What is known of it.
struct Known {
    record: Record,
    volume: Option<Value>,
    claim: Option<Value>,
    created: bool,
    tried: bool,
    proved: bool,
    refused: Option<String>,
}

/// A refusal that asks for another look at the objects.
fn is_stale(error: &kube::Error) -> bool {
    api::is(error, 409) || api::is_for_another(error) || error_is_missing(error)
}

fn error_is_missing(error: &kube::Error) -> bool {
    api::status(error).is_some_and(|status| status.code == 404 && status.reason == "NotFound")
}

impl Swap<'_, '_> {
    /// Goes on with the volume to the end that it can have; what ended it is told if it is not the usual end.
    ///
    /// # Errors
    /// It cannot go on now. What is done is done, and the next call takes it from there.
    pub(crate) async fn run(&mut self, name: &str) -> Result<(Ended, Option<String>), SwapError> {
        let Some(entry) = self.journal.entry(name) else { return Ok((Ended::AsItWas, None)) };
        let mut known = Known {
            record: entry.record.clone(),
            created: entry.created,
            volume: None,
            claim: None,
            tried: false,
            proved: false,
            refused: self.against.clone(),
        };
        self.look(&mut known).await?;
        let mut conflicts = 0;
        loop {
            let step = decide(&known.view());
            if let Step::End(how, why) = step {
                self.journal.ended(name, how)?;
                return Ok((how, why));
            }
            if self.perform(step, &mut known).await? {
                continue;
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
        let failed = |error| SwapError::Api("read it", api::text(&error));
        known.volume = self.requests.get(VOLUMES, known.record.name()).await.map_err(failed)?;
        if let Some(bound) = &known.record.claim {
            let claim = self.requests.get(&claims(&bound.namespace), &bound.name).await.map_err(failed)?;
            known.claim = claim.filter(|claim| text(claim, "/metadata/uid") == bound.uid);
        }
        Ok(())
    }

    /// Does one step. `false`: others were quicker, and the objects must be looked at again.
    async fn perform(&mut self, step: Step, known: &mut Known) -> Result<bool, SwapError> {
        let (what, done) = match step {
            Step::WriteDown => {
                if let Some(volume) = known.volume.clone() {
                    known.record.volume = without_managers(volume);
                    self.journal.replace(known.record.clone())?;
                }
                return Ok(true);
            }
            Step::Try => ("ask for the new volume", self.ask(known).await),
            Step::Retain => ("set its reclaim policy", self.set_policy(known, RETAIN.to_owned()).await),
            Step::PutBack => {
                let policy = known.record.policy.clone();
                ("set its reclaim policy", self.set_policy(known, policy).await)
            }
            Step::Mark => ("mark its claim", self.mark(known, json!(known.record.name()), false).await),
            Step::Unmark { undone } => ("free its claim", self.mark(known, Value::Null, undone).await),
            Step::Prove => {
                if let Some(bound) = &known.record.claim {
                    match self.hold.prove(&bound.namespace, &bound.name).await {
                        // Nothing is deleted yet: everything can be as it was.
                        Err(error @ HoldError::NotFollowed) => known.refused = Some(error.to_string()),
                        proved => proved?,
                    }
                }
                known.proved = true;
                return Ok(true);
            }
            Step::Delete => ("delete it", self.delete(known).await),
            Step::Release => ("take the finalizers off it", self.release(known).await),
            Step::Create => {
                let created = self.create(known).await;
                if created.is_ok() {
                    self.journal.created(known.record.name())?;
                    known.created = true;
                }
                ("create it anew", created)
            }
            Step::AwaitBound => return self.await_bound(known).await.map(|()| true),
            Step::End(..) => return Ok(true),
        };
        match done {
            Ok(()) => Ok(true),
            Err(error) if is_stale(&error) => Ok(false),
            Err(error) => Err(SwapError::Api(what, api::text(&error))),
        }
    }

    async fn ask(&self, known: &mut Known) -> Result<(), kube::Error> {
        match self.requests.create(VOLUMES, &known.record.created(), true).await {
            // Everything else about it is right.
            Err(error) if api::is(&error, 409) => {}
            Err(error) if api::status(&error).is_some() => {
                known.refused =
                    Some(format!("the API server would not take the new volume: {}", api::text(&error)));
            }
            answer => drop(answer?),
        }
        known.tried = true;
        Ok(())
    }

    async fn set_policy(&self, known: &mut Known, policy: String) -> Result<(), kube::Error> {
        let Some(volume) = &known.volume else { return Ok(()) };
        let patch = json!({
            "metadata": {"uid": text(volume, "/metadata/uid")}, "spec": {"persistentVolumeReclaimPolicy": policy},
        });
        let path = format!("{VOLUMES}/{}", known.record.name());
        known.volume = Some(self.requests.patch(&path, &patch).await?);
        Ok(())
    }

    /// Sets the claim's mark to `mark`, and the claim's own changes; with `undone` these the other way.
    async fn mark(&self, known: &mut Known, mark: Value, undone: bool) -> Result<(), kube::Error> {
        let Some(bound) = &known.record.claim else { return Ok(()) };
        let mut patch =
            if undone { merge_patch(&reversed(&bound.changes)) } else { merge_patch(&bound.changes) };
        put(&mut patch, &["metadata", "uid"], json!(bound.uid));
        put(&mut patch, &["metadata", "annotations", MARK], mark);
        let path = format!("{}/{}", claims(&bound.namespace), bound.name);
        known.claim = Some(self.requests.patch(&path, &patch).await?);
        Ok(())
    }

    async fn delete(&self, known: &mut Known) -> Result<(), kube::Error> {
        let Some(volume) = &known.volume else { return Ok(()) };
        let (uid, version) = (text(volume, "/metadata/uid"), text(volume, "/metadata/resourceVersion"));
        known.volume = self.requests.delete(VOLUMES, known.record.name(), uid, Some(version)).await?;
        Ok(())
    }

    async fn release(&self, known: &mut Known) -> Result<(), kube::Error> {
        let patch = json!({
            "metadata": {"uid": text(&known.record.volume, "/metadata/uid"), "finalizers": null},
        });
        self.requests.patch(&format!("{VOLUMES}/{}", known.record.name()), &patch).await?;
        known.volume = None;
        Ok(())
    }

    async fn create(&self, known: &mut Known) -> Result<(), kube::Error> {
        known.volume = Some(self.requests.create(VOLUMES, &known.record.created(), false).await?);
        Ok(())
    }

    async fn await_bound(&self, known: &mut Known) -> Result<(), SwapError> {
        let begun = Instant::now();
        let mut pause = PAUSES.0;
        while decide(&known.view()) == Step::AwaitBound {
            if begun.elapsed() > LIMIT {
                return Err(SwapError::NotBound);
            }
            sleep(pause).await;
            pause = (2 * pause).min(PAUSES.1);
            self.look(known).await?;
        }
        Ok(())
    }
}

impl Known {
    fn view(&self) -> View<'_> {
        View {
            record: &self.record,
            volume: self.volume.as_ref(),
            claim: self.claim.as_ref(),
            created: self.created,
            tried: self.tried,
            proved: self.proved,
            against: self.refused.as_deref(),
        }
    }
}
