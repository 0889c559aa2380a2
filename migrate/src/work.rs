//! Works on volumes one after the other, so that as few PersistentVolumes as possible are not there at a time. A volume that
//! the API server refuses fails alone.

use std::path::{Path, PathBuf};

use kubernetes::api;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::cluster::marked;
use crate::decide::Users;
use crate::error::MigrateError;
use crate::hold::{Hold, HoldError, Owner, release};
use crate::journal::{Journal, unique};
use crate::options::Options;
use crate::prepare::{Objects, PlanInput, Prepared, prepare, prepare_back};
use crate::progress::Progress;
use crate::record::{Direction, Ended, Record};
use crate::report::{Outcome, PlannedVolume};
use crate::requests::{Requests, VOLUMES};
use crate::swap::{Seen, Swap, SwapError, see};

/// After so many volumes in a row for which the API server gave no answer, that nobody has bound, or whose new form was refused,
/// nothing more is tried.
const SILENCES: usize = 2;

/// What is told of a marked claim that is none of ours.
const UNKNOWN: &str = "and this undo file does not know why: go on with the file that does; if it is lost, docs/migrate.md says what \
                       to do by hand. Until then the policy stays that keeps the claim";

/// What is wanted of volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// To be converted.
    Convert,
    /// To be in-tree again.
    Undo,
    /// To come to an end of what was begun; a way that the command would go back is not gone on with.
    Finish(Direction),
}

/// One command's work.
pub(crate) struct Work<'a> {
    requests: &'a Requests,
    options: &'a Options,
    input: &'a PlanInput,
    journal: &'a mut Journal,
    progress: &'a mut Progress,
    stop: &'a CancellationToken,
    hold: Option<Hold<'a>>,
    silences: usize,
    /// Volumes in a row that nobody has bound.
    unbound: usize,
    /// Volumes in a row whose new form was refused.
    restored: usize,
    outcome: Outcome,
}

/// What becomes of a volume at its turn.
enum Turn {
    /// It is to be replaced; these are the objects that this was decided on.
    Replace(Box<Record>, Value, Option<Value>),
    /// Something stands against it.
    Fail(String),
    /// The same, for a volume that could be converted.
    Leave(Box<PlannedVolume>),
    /// It was converted, and has been deleted since.
    Gone,
    /// It is none that there is something to be done about.
    Skip,
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        requests: &'a Requests,
        options: &'a Options,
        input: &'a PlanInput,
        journal: &'a mut Journal,
        progress: &'a mut Progress,
        stop: &'a CancellationToken,
    ) -> Self {
        let outcome = Outcome::default();
        Self {
            requests,
            options,
            input,
            journal,
            progress,
            stop,
            hold: None,
            silences: 0,
            unbound: 0,
            restored: 0,
            outcome,
        }
    }

    /// As a command that makes volumes in-tree again.
    pub(crate) fn undoing(mut self) -> Self {
        self.outcome.undo = true;
        self
    }

    pub(crate) fn input(&self) -> &'a PlanInput {
        self.input
    }

    /// The volumes that were converted with the undo file.
    pub(crate) fn converted(&self) -> Vec<String> {
        self.journal.converted()
    }

    /// Whether there is already something to tell of the volume.
    pub(crate) fn is_known(&self, name: &str) -> bool {
        self.outcome.failed.iter().any(|(failed, _)| failed == name) || self.is_half_done(name)
    }

    /// Whether the undo file says something of the volume.
    pub(crate) fn is_noted(&self, name: &str) -> bool {
        self.journal.entry(name).is_some()
    }

    /// Whether the volume was converted with the undo file.
    pub(crate) fn is_converted(&self, name: &str) -> bool {
        self.journal.entry(name).is_some_and(crate::journal::VolumeState::is_converted)
    }

    fn is_half_done(&self, name: &str) -> bool {
        self.journal.entry(name).is_some_and(|entry| entry.ended.is_none())
    }

    /// Whether we have deleted the volume and not created it anew.
    fn is_away(&self, name: &str) -> bool {
        let state = self.journal.entry(name).filter(|state| state.ended.is_none());
        state.is_some_and(|state| state.deleting.is_some() && state.created.is_none())
    }

    pub(crate) fn leave(&mut self, entry: PlannedVolume) {
        self.outcome.left.push(entry);
    }

    pub(crate) fn fail(&mut self, name: &str, why: String) {
        self.outcome.failed.push((name.to_owned(), why));
    }

    /// Brings what was begun with to its end. A way in the other direction than this, on which nothing has been deleted, is
    /// not gone on with.
    pub(crate) async fn finish(&mut self, direction: Direction) -> Result<(), MigrateError> {
        let options = self.options;
        let wanted = self.journal.unfinished().into_iter().filter(|name| options.wants(name));
        self.all(wanted.collect(), Goal::Finish(direction)).await
    }

    /// Works on these volumes.
    ///
    /// # Errors
    /// It cannot go on with any.
    pub(crate) async fn all(&mut self, volumes: Vec<String>, goal: Goal) -> Result<(), MigrateError> {
        if volumes.is_empty() || self.outcome.stopped {
            return Ok(());
        }
        if self.hold.is_none() {
            self.journal.run(&unique())?;
            let file = self.file();
            let owner = self.owner(&file);
            self.hold = Some(Hold::take(self.requests, &owner, self.options.lag).await?);
        }
        self.progress.begin(volumes.len());
        let worked = self.each(volumes, goal).await;
        self.progress.end();
        worked
    }

    async fn each(&mut self, volumes: Vec<String>, goal: Goal) -> Result<(), MigrateError> {
        for name in volumes {
            if self.stop.is_cancelled() {
                self.outcome.stopped = true;
                return Ok(());
            }
            self.progress.on(&name);
            match self.one(&name, goal).await {
                Ok(()) => {
                    (self.silences, self.restored) = (0, 0);
                    // One without a claim waits for nobody.
                    if self.journal.entry(&name).is_some_and(|entry| entry.record.claim.is_some()) {
                        self.unbound = 0;
                    }
                }
                Err(SwapError::Journal(error)) => return Err(error.into()),
                Err(error) => {
                    self.stumble(&name, &error);
                    // What one command has left away does not hinder the undoing of others; nor does what others keep.
                    let is_begun = !matches!((goal, self.outcome.undo), (Goal::Finish(_), true));
                    let is_kept = matches!(error, SwapError::Held(_));
                    if is_begun && !is_kept && self.is_away(&name) {
                        return Err(MigrateError::Away(name));
                    }
                }
            }
            if self.hold.as_ref().is_some_and(Hold::is_vain) {
                return Err(HoldError::NotFollowed.into());
            }
            if self.silences >= SILENCES {
                return Err(MigrateError::NoAnswer);
            }
            if self.restored >= SILENCES {
                return Err(MigrateError::Restored);
            }
            if self.unbound >= SILENCES {
                return Err(MigrateError::NobodyBinds);
            }
        }
        Ok(())
    }

    async fn one(&mut self, name: &str, goal: Goal) -> Result<(), SwapError> {
        let (against, fresh) = match goal {
            Goal::Finish(direction) => {
                let other = self.journal.entry(name).filter(|entry| entry.record.direction != direction);
                (other.map(|_| "it is not to go that way any more".to_owned()), None)
            }
            Goal::Convert | Goal::Undo => match self.turn(name, goal).await? {
                Turn::Replace(record, volume, claim) => {
                    self.journal.replace(*record)?;
                    (None, Some((volume, claim)))
                }
                turn => {
                    self.progress.done(name, "is left as it is");
                    match turn {
                        Turn::Gone => {
                            self.journal.ended(name, Ended::Gone)?;
                            self.outcome.notes.push((name.to_owned(), "it has been deleted".to_owned()));
                        }
                        Turn::Fail(why) => self.fail(name, why),
                        Turn::Leave(entry) => self.leave(*entry),
                        Turn::Replace(..) | Turn::Skip => {}
                    }
                    return Ok(());
                }
            },
        };
        let is_other = against.is_some();
        let Some(hold) = self.hold.as_mut() else { return Ok(()) };
        let (requests, input) = (self.requests, self.input);
        let mut swap = Swap { requests, journal: self.journal, hold, input, against };
        match swap.run(name, fresh).await {
            // The other command wanted the new form; this one has what it wants.
            Err(SwapError::Restored(_)) if is_other => self.count(name, Ended::AsItWas, None, true),
            ended => {
                let (how, why) = ended?;
                self.count(name, how, why, is_other);
            }
        }
        Ok(())
    }

    /// Reads the volume and what hangs on it, and decides.
    async fn turn(&self, name: &str, goal: Goal) -> Result<Turn, SwapError> {
        let failed = |error: kube::Error| SwapError::of("read it", &error);
        let Some(volume) = self.requests.get(VOLUMES, name).await.map_err(failed)? else {
            return Ok(if goal == Goal::Undo { Turn::Gone } else { Turn::Skip });
        };
        let Seen { claim, users } = see(self.requests, &volume).await.map_err(failed)?;
        let decided = self.decided(name, goal, &volume, claim.as_ref(), users);
        Ok(match decided.unwrap_or_else(|error| Err(Turn::Fail(format!("it cannot be read: {error}")))) {
            Ok(record) => Turn::Replace(Box::new(record), volume, claim),
            Err(turn) => turn,
        })
    }

    fn decided(
        &self,
        name: &str,
        goal: Goal,
        volume: &Value,
        claim: Option<&Value>,
        users: Users,
    ) -> Result<Result<Record, Turn>, serde_json::Error> {
        let claim = claim.cloned().map(serde_json::from_value).transpose()?;
        let objects = Objects { volume, claim: claim.as_ref(), users };
        if let (Goal::Undo, Some(entry)) = (goal, self.journal.entry(name)) {
            let back = prepare_back(self.input, &objects, &entry.record.conversion())?;
            return Ok(back.map_err(Turn::Fail));
        }
        Ok(match prepare(self.input, &objects)? {
            Some(Prepared { entry, record: Some(record) }) if entry.is_ready() => Ok(record),
            Some(Prepared { entry, .. }) => Err(Turn::Leave(Box::new(entry))),
            None => Err(Turn::Skip),
        })
    }

    fn count(&mut self, name: &str, how: Ended, why: Option<String>, is_other: bool) {
        let direction = self.journal.entry(name).map(|entry| entry.record.direction);
        let what = match how {
            Ended::Replaced if direction == Some(Direction::ToInTree) => "is in-tree again",
            Ended::Replaced => "is converted",
            Ended::Kept => "is replaced; its claim is gone",
            Ended::AsItWas => "is as it was",
            Ended::Gone => "is gone",
        };
        self.progress.done(name, what);
        match (how, why) {
            // It came to its end against what is wanted, and has its turn again; or nothing of it was done.
            (Ended::Replaced | Ended::AsItWas, _) if is_other => {}
            (Ended::Replaced, _) => self.outcome.done += 1,
            (Ended::Kept, why) => {
                self.outcome.done += usize::from(!is_other);
                self.outcome.notes.extend(why.map(|why| (name.to_owned(), why)));
            }
            (Ended::AsItWas | Ended::Gone, why) => self.fail(name, why.unwrap_or_default()),
        }
    }

    /// A volume cannot be gone on with now.
    fn stumble(&mut self, name: &str, error: &SwapError) {
        self.silences =
            if matches!(error, SwapError::NoAnswer(..) | SwapError::Hold(_)) { self.silences + 1 } else { 0 };
        self.unbound += usize::from(matches!(error, SwapError::NotBound));
        self.restored += usize::from(matches!(error, SwapError::Restored(_)));
        if self.is_half_done(name) {
            self.progress.done(name, &format!("is half done: {error}"));
            self.outcome.half_done.push((name.to_owned(), error.to_string()));
        } else {
            self.progress.done(name, "is left as it is");
            self.fail(name, error.to_string());
        }
    }

    /// The outcome, or why there is none. The policy that keeps claims goes, unless some are still on their way.
    pub(crate) async fn end(mut self, worked: Result<(), MigrateError>) -> Result<Outcome, MigrateError> {
        let unfinished = self.journal.unfinished();
        let file = self.file();
        let released = match unfinished.is_empty() {
            // Also that of a run that was killed at its very end.
            true => self.release(&file).await,
            false => Ok(()),
        };
        match worked.and(released) {
            Ok(()) => {}
            Err(error) if self.outcome.is_untouched() && unfinished.is_empty() => return Err(error),
            Err(error) => self.outcome.broken_off = Some(error.to_string()),
        }
        for name in unfinished {
            if self.outcome.half_done.iter().all(|(known, _)| *known != name) {
                let why = match &self.options.only {
                    Some(only) if *only != name => {
                        format!("--volume={only} leaves it; to finish it: the same with --volume={name}")
                    }
                    _ => "it was begun with and is not at its end".to_owned(),
                };
                self.outcome.half_done.push((name, why));
            }
        }
        self.outcome.command = self.command(&file);
        Ok(self.outcome)
    }

    /// Takes the policy away, unless it keeps claims that the undo file does not know.
    async fn release(&mut self, file: &Path) -> Result<(), MigrateError> {
        let marked = marked(self.requests.client()).await;
        for (claim, volume) in marked.map_err(|error| MigrateError::Read(api::text(&error)))? {
            self.outcome.half_done.push((volume, format!("claim {claim} is marked, {UNKNOWN}")));
        }
        if self.outcome.half_done.is_empty() {
            release(self.requests, &self.owner(file)).await?;
        }
        Ok(())
    }

    /// The undo file, wherever the command is run.
    fn file(&self) -> PathBuf {
        std::path::absolute(self.journal.path()).unwrap_or_else(|_| self.journal.path().to_owned())
    }

    /// The command that goes on from here.
    fn command(&self, file: &Path) -> String {
        self.options.command(if self.outcome.undo { "--undo" } else { "--undo-file" }, file)
    }

    fn owner<'b>(&'b self, file: &'b Path) -> Owner<'b> {
        Owner {
            id: self.journal.id(),
            runs: self.journal.runs(),
            file,
            undo: self.outcome.undo,
            command: self.command(file),
        }
    }
}
