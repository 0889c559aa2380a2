//! `mooring explain` on a real control plane: for each state in which an object can be stuck, the exact answer (the file
//! `says.txt`), and that it says more than the object's last event.
//!
//! `MOORING_BLESS=1` writes what is said now into `says.txt`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test, with long lists"
)]

mod in_use;
mod others;
mod site;
mod state;
mod unbound;
mod ways;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use cluster::implementation::Implementation;
use cluster::stand::has_hosts;

use crate::site::Site;
use crate::state::State;

/// The answers, each below a line with `# ` and the state's name. Times and uids are masked.
const SAYS: &str = include_str!("says.txt");

fn says() -> BTreeMap<&'static str, &'static str> {
    let parts = SAYS.split("# ").filter_map(|part| part.split_once('\n'));
    parts.map(|(name, answer)| (name.trim(), answer.trim())).collect()
}

/// Writes what is said now: to be read by whoever commits it.
async fn bless(site: &Site, states: &[State]) {
    tokio::time::sleep(Duration::from_secs(15)).await;
    let mut text = String::new();
    for state in states {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# {}\n{}", state.name, site.explain(&state.args()).await);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/explain/says.txt");
    std::fs::write(path, text).expect("written");
}

fn states() -> Vec<State> {
    [unbound::states(), in_use::states(), others::states()].into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stuck_state_is_explained() {
    let site = Site::up(Implementation::Ours).await;
    let states = states();
    for state in &states {
        site.make(state).await;
    }
    if std::env::var_os("MOORING_BLESS").is_some() {
        return bless(&site, &states).await;
    }
    let (says, mut wrong) = (says(), Vec::new());
    assert_eq!(says.len(), states.len(), "each state has its answer");
    for state in &states {
        let expected = says.get(state.name).copied().unwrap_or_default();
        wrong.extend(site.check(state, expected, |said| said.to_owned()).await.err());
    }
    assert!(wrong.is_empty(), "{} of {} states\n{}", wrong.len(), states.len(), wrong.join("\n"));
    ways::all(&site).await;
}

/// The answer without the errors: the Go sidecars word some of them otherwise.
fn without_errors(said: &str) -> String {
    let kept = said.lines().filter(|line| !line.starts_with("  error:"));
    kept.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_sidecars_states_are_explained_alike() {
    if !has_hosts("the states of the Go sidecars") {
        return;
    }
    let site = Site::up(Implementation::Go).await;
    let states = states();
    for state in &states {
        site.make(state).await;
    }
    let (says, mut wrong) = (says(), Vec::new());
    for state in &states {
        let expected = without_errors(says.get(state.name).copied().unwrap_or_default());
        wrong.extend(site.check(state, &expected, without_errors).await.err());
    }
    assert!(wrong.is_empty(), "{} of {} states\n{}", wrong.len(), states.len(), wrong.join("\n"));
}
