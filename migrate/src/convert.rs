//! Converts volumes, and undoes that: one after the other, so that never more than one PersistentVolume is not there.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Client;
use kubernetes::api;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use translation::Plugins;

use crate::change::ends_at;
use crate::cluster::{Cluster, Uses};
use crate::decide::{Told, claim_obstacle, in_use};
use crate::error::MigrateError;
use crate::hold::{Hold, HoldError, release};
use crate::journal::Journal;
use crate::prepare::{Prepared, bound_claim, claim_of, prepare};
use crate::progress::Progress;
use crate::record::{Direction, Ended, Record};
use crate::report::Outcome;
use crate::requests::Requests;
use crate::swap::Swap;

/// How old the knowledge may be of who uses a volume.
const FRESH: Duration = Duration::from_secs(5);

/// What is to be done, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub(crate) told: Told,
    /// Only the PersistentVolume of this name.
    pub only: Option<String>,
    /// The undo file.
    pub file: PathBuf,
    /// How long the other API servers may take longer than ours to follow a new policy.
    pub lag: Duration,
}

impl Options {
    /// Those for every volume of the plugins that Kubernetes translates, with this undo file.
    pub fn with_file(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }

    /// Those for the volumes of these plugins.
    pub fn of(mut self, plugins: Plugins) -> Self {
        self.told.plugins = plugins;
        self
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }
}

/// Converts every volume that can be; goes on with those that an earlier run with the same undo file left on their way.
/// `stop` lets the volume in hand be finished, and ends it then.
///
/// # Errors
/// It cannot go on. What it has done is written down, and the same call takes it from there.
pub async fn convert(
    client: &Client,
    options: &Options,
    progress: &mut Progress,
    stop: &CancellationToken,
) -> Result<Outcome, MigrateError> {
    let mut journal = Journal::open(&options.file, &new_id())?;
    let cluster = Cluster::read(client).await.map_err(|error| MigrateError::Read(api::text(&error)))?;
    let mut outcome = Outcome::default();
    let mut found = false;
    let mut ready: Vec<(String, Option<Record>)> =
        journal.unfinished().into_iter().map(|name| (name, None)).collect();
    for name in cluster.volumes.keys().filter(|name| options.wants(name)) {
        let prepared = prepare(&cluster, &options.told, name);
        let prepared = prepared.map_err(|error| MigrateError::Shown(name.clone(), error))?;
        let Some(Prepared { entry, record }) = prepared else { continue };
        found = true;
        if journal.entry(name).is_some_and(|entry| entry.ended.is_none()) {
            continue;
        }
        match record.filter(|_| entry.is_ready()) {
            Some(record) => ready.push((name.clone(), Some(record))),
            None => outcome.left.push(entry),
        }
    }
    if let (Some(name), false, true) = (&options.only, found, ready.is_empty()) {
        return Err(MigrateError::NotFound(name.clone()));
    }
    let mut work = Work { client, options, journal: &mut journal, progress, stop, outcome };
    work.all(ready).await?;
    Ok(work.outcome)
}

/// Makes every volume that was converted with the undo file an in-tree volume again.
///
/// # Errors
/// See [`convert`].
pub async fn undo(
    client: &Client,
    options: &Options,
    progress: &mut Progress,
    stop: &CancellationToken,
) -> Result<Outcome, MigrateError> {
    let mut journal = Journal::open_existing(&options.file)?;
    let outcome = Outcome { undo: true, ..Outcome::default() };
    let mut work = Work { client, options, journal: &mut journal, progress, stop, outcome };
    // What is on its way first comes to its end.
    let unfinished = work.journal.unfinished().into_iter().map(|name| (name, None)).collect();
    work.all(unfinished).await?;
    if stop.is_cancelled() {
        return Ok(work.outcome);
    }
    work.outcome = Outcome { undo: true, ..Outcome::default() };
    let cluster = Cluster::read(client).await.map_err(|error| MigrateError::Read(api::text(&error)))?;
    let mut ready = Vec::new();
    for name in work.journal.converted().into_iter().filter(|name| options.wants(name)) {
        match back(&cluster, options, work.journal, &name)? {
            Ok(record) => ready.push((name, Some(record))),
            Err(why) => work.outcome.failed.push((name, why)),
        }
    }
    work.all(ready).await?;
    Ok(work.outcome)
}

/// How a volume goes back, or what stands against it.
fn back(
    cluster: &Cluster,
    options: &Options,
    journal: &Journal,
    name: &str,
) -> Result<Result<Record, String>, MigrateError> {
    let shown = |error| MigrateError::Shown(name.to_owned(), error);
    let Some(entry) = journal.entry(name) else { return Ok(Err("it is not in the undo file".to_owned())) };
    let there = match entry.record.direction {
        Direction::ToCsi => entry.record.clone(),
        // It was to go back, and did not.
        Direction::ToInTree => entry.record.back(entry.record.volume.clone(), entry.record.claim.clone()),
    };
    let Some(stored) = cluster.volumes.get(name) else { return Ok(Err("it is gone".to_owned())) };
    if !ends_at(stored, &there.changes) {
        return Ok(Err("it is no longer the volume that was converted".to_owned()));
    }
    let volume: PersistentVolume = serde_json::from_value(stored.clone()).map_err(shown)?;
    let claim = claim_of(cluster, stored);
    let mut against = Vec::from_iter(claim_obstacle(&volume, claim));
    if volume.metadata.deletion_timestamp.is_some() {
        against.push("it is being deleted".to_owned());
    }
    if !options.told.in_use {
        let key = claim.map(|claim| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{}/{}", text(&claim.metadata.namespace), text(&claim.metadata.name))
        });
        against.extend(in_use(&cluster.uses.of(name, key.as_deref())));
    }
    if !against.is_empty() {
        return Ok(Err(against.join(", ")));
    }
    let claim = claim.map(|claim| {
        let changes = there.claim.as_ref().filter(|bound| Some(&bound.uid) == claim.metadata.uid.as_ref());
        bound_claim(claim, changes.map_or_else(Vec::new, |bound| crate::change::reversed(&bound.changes)))
    });
    Ok(Ok(there.back(stored.clone(), claim)))
}

/// A name that no other run has.
fn new_id() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_nanos(), std::process::id())
}

struct Work<'a> {
    client: &'a Client,
    options: &'a Options,
    journal: &'a mut Journal,
    progress: &'a mut Progress,
    stop: &'a CancellationToken,
    outcome: Outcome,
}

impl Work<'_> {
    /// Works on these volumes; those without a record are in the undo file.
    async fn all(&mut self, volumes: Vec<(String, Option<Record>)>) -> Result<(), MigrateError> {
        let requests = Requests::new(self.client.clone());
        let file =
            std::path::absolute(self.journal.path()).unwrap_or_else(|_| self.journal.path().to_owned());
        let id = self.journal.id().to_owned();
        if volumes.is_empty() {
            // A run that was killed at its very end has left it.
            return Ok(release(&requests, &id).await?);
        }
        let mut hold = Hold::take(&requests, &id, &file, self.options.lag).await?;
        let mut uses: Option<(Instant, Uses)> = None;
        self.progress.begin(volumes.len());
        for (name, record) in volumes {
            if self.stop.is_cancelled() {
                self.outcome.stopped = true;
                break;
            }
            self.progress.on(&name);
            if uses.as_ref().is_none_or(|(read, _)| read.elapsed() > FRESH) {
                let read = Uses::read(self.client).await;
                let read = read.map_err(|error| MigrateError::Read(api::text(&error)))?;
                uses = Some((Instant::now(), read));
            }
            if let Some(record) = record {
                self.journal.replace(record)?;
            }
            let against = uses.as_ref().and_then(|(_, uses)| self.against(uses, &name));
            let mut swap = Swap { requests: &requests, journal: self.journal, hold: &mut hold, against };
            let ended = swap.run(&name).await;
            let (how, why) = ended.map_err(|error| MigrateError::Swap(name.clone(), error))?;
            self.count(name, how, why);
            if hold.is_vain() {
                break;
            }
        }
        self.progress.end();
        if self.journal.unfinished().is_empty() {
            release(&requests, &id).await?;
        }
        if hold.is_vain() { Err(HoldError::NotFollowed.into()) } else { Ok(()) }
    }

    /// Who began to use the volume since it was planned.
    fn against(&self, uses: &Uses, name: &str) -> Option<String> {
        let claim = self.journal.entry(name).and_then(|entry| entry.record.claim.as_ref());
        let claim = claim.map(|claim| format!("{}/{}", claim.namespace, claim.name));
        let found = in_use(&uses.of(name, claim.as_deref()));
        (!found.is_empty() && !self.options.told.in_use).then(|| found.join(", "))
    }

    fn count(&mut self, name: String, how: Ended, why: Option<String>) {
        let what = match how {
            Ended::Replaced if self.outcome.undo => "is in-tree again",
            Ended::Replaced => "is converted",
            Ended::Kept => "is replaced; its claim is gone",
            Ended::AsItWas => "is as it was",
            Ended::Gone => "is gone",
        };
        self.progress.done(&name, what);
        match (how, why) {
            (Ended::Replaced, _) | (Ended::Kept, None) => self.outcome.done += 1,
            (Ended::Kept, Some(why)) => {
                self.outcome.done += 1;
                self.outcome.notes.push((name, why));
            }
            (Ended::AsItWas | Ended::Gone, why) => self.outcome.failed.push((name, why.unwrap_or_default())),
        }
    }
}
