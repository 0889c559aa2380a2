//! Converts volumes, and undoes that.

use kube::Client;
use kubernetes::api;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, classes};
use crate::error::MigrateError;
use crate::journal::{ClusterId, Journal, unique};
use crate::options::Options;
use crate::prepare::{PlanInput, Prepared};
use crate::progress::Progress;
use crate::record::Direction;
use crate::report::Outcome;
use crate::requests::Requests;
use crate::work::{Goal, Work};

/// Converts every volume that can be; goes on with those that an earlier run with the same undo file left on their way.
/// `stop` lets the volume in hand be finished, and ends it then.
///
/// # Errors
/// Nothing could be done. What breaks it off later is in the outcome.
pub async fn convert(
    client: &Client,
    options: &Options,
    progress: &mut Progress,
    stop: &CancellationToken,
) -> Result<Outcome, MigrateError> {
    let requests = Requests::new(client.clone());
    let mut journal = Journal::open(&options.file, &unique(), &cluster_id(&requests, options).await?)?;
    let read = |error: kube::Error| MigrateError::Read(api::text(&error));
    let input = PlanInput { scope: options.scope.clone(), classes: classes(client).await.map_err(read)? };
    let mut work = Work::new(&requests, options, &input, &mut journal, progress, stop);
    let done = async {
        work.finish(Direction::ToCsi).await?;
        let ready = plan_all(client, options, &mut work).await?;
        work.all(ready, Goal::Convert).await
    };
    let done = done.await;
    work.end(done).await
}

/// The volumes that can be converted now; those that cannot are told in the outcome.
async fn plan_all(
    client: &Client,
    options: &Options,
    work: &mut Work<'_>,
) -> Result<Vec<String>, MigrateError> {
    let cluster = Cluster::read(client).await.map_err(|error| MigrateError::Read(api::text(&error)))?;
    // What is at its end already is in-tree no more.
    let is_done = |name: &String| work.is_known(name) || work.is_converted(name);
    let (mut ready, mut found) = (Vec::new(), options.only.as_ref().is_some_and(is_done));
    for (name, prepared) in cluster.prepared(work.input(), options) {
        match prepared {
            _ if work.is_known(name) => {}
            Ok(Prepared { entry, .. }) if entry.is_ready() => ready.push(name.to_owned()),
            Ok(Prepared { entry, .. }) => work.leave(entry),
            Err(error) => work.fail(name, format!("it cannot be read: {error}")),
        }
        found = true;
    }
    match &options.only {
        Some(name) if !found => Err(MigrateError::NotFound(name.clone())),
        _ => Ok(ready),
    }
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
    let requests = Requests::new(client.clone());
    let mut journal = Journal::open_existing(&options.file, &cluster_id(&requests, options).await?)?;
    let input = PlanInput { scope: options.scope.clone(), ..PlanInput::default() };
    let mut work = Work::new(&requests, options, &input, &mut journal, progress, stop).undoing();
    let done = async {
        if let Some(name) = options.only.as_ref().filter(|name| !work.is_noted(name)) {
            return Err(MigrateError::NotConverted(name.clone()));
        }
        work.finish(Direction::ToInTree).await?;
        let wanted = work.converted().into_iter().filter(|name| options.wants(name) && !work.is_known(name));
        work.all(wanted.collect(), Goal::Undo).await
    };
    let done = done.await;
    work.end(done).await
}

/// Which cluster the API server is of.
async fn cluster_id(requests: &Requests, options: &Options) -> Result<ClusterId, MigrateError> {
    let read = requests.get("/api/v1/namespaces", "kube-system").await;
    let namespace = read.map_err(|error| MigrateError::Read(api::text(&error)))?;
    let uid = namespace.as_ref().map_or("", |namespace| crate::record::text(namespace, "/metadata/uid"));
    match uid.is_empty() {
        true => Err(MigrateError::Read(
            "there is no namespace kube-system, whose uid tells clusters apart".to_owned(),
        )),
        false => Ok(ClusterId::new(uid, &options.server)),
    }
}
