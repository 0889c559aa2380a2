//! Waiting for a condition with a deadline and a message that says what was waited for.

use std::time::{Duration, Instant};

use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::Api;
use kube::runtime::wait::{Condition, await_condition};

/// What was waited for did not come.
#[derive(Debug, thiserror::Error)]
#[error("waited {} s for {what}{why}", limit.as_secs_f32())]
pub struct Late {
    what: String,
    limit: Duration,
    why: String,
}

/// Asks `look` until it gives something, with a pause of 50 ms, or of as long as the look took if that is longer: looking
/// must not take the machine from what is looked at.
///
/// # Errors
/// [`Late`] with `what` in its message, when `limit` is over.
pub async fn until<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> Result<T, Late>
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        let begun = Instant::now();
        if let Some(found) = look().await {
            return Ok(found);
        }
        let pause = (2 * begun.elapsed()).max(Duration::from_millis(50));
        if Instant::now() >= end {
            return Err(Late { what: what.to_owned(), limit, why: String::new() });
        }
        tokio::time::sleep(pause).await;
    }
}

/// Watches the object `name` until `condition` holds; gives the object, or `None` if the condition holds without one.
///
/// Any `Fn(Option<&K>) -> bool` is a condition; `kube::runtime::wait::conditions` has more.
///
/// # Errors
/// [`Late`] with `what` in its message, when `limit` is over or the watch fails.
pub async fn condition<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    limit: Duration,
    condition: impl Condition<K>,
) -> Result<Option<K>, Late>
where
    K: kube::Resource + Clone + std::fmt::Debug + Send + DeserializeOwned + 'static,
{
    let late = |why| Late { what: format!("{what} ({name})"), limit, why };
    match tokio::time::timeout(limit, await_condition(api.clone(), name, condition)).await {
        Ok(Ok(object)) => Ok(object),
        Ok(Err(error)) => Err(late(format!(": {error}"))),
        Err(_) => Err(late(String::new())),
    }
}

/// As [`until`], for a condition.
///
/// # Errors
/// It did not come true in time.
pub async fn until_true<F>(what: &str, limit: Duration, mut holds: impl FnMut() -> F) -> Result<(), Late>
where
    F: Future<Output = bool>,
{
    let look = || {
        let holds = holds();
        async move { holds.await.then_some(()) }
    };
    until(what, limit, look).await
}
