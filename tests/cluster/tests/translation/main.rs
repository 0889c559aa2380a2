//! Our translation of in-tree volumes against upstream's own library: random questions, and one answer to each.
//!
//! Rbd is compared with the last release of the library that had it. A difference is a failure, unless the code marks it
//! with a `Differs:` note; [`expected`] knows those.
//!
//! `MOORING_INPUTS=100000 cargo test -p cluster --test translation` asks that many questions about each plugin.
//! `MOORING_SEED` repeats a run.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod expected;
mod question;
mod upstream;

use std::collections::BTreeMap;

use cluster::binaries::{Binary, Progress, ensure};
use fastrand::Rng;
use question::Question;
use serde_json::{Map, Value, json};
use translation::{Plugin, Plugins, Translation as _};
use upstream::Upstream;

/// Questions about each plugin, unless the environment says otherwise.
const INPUTS: usize = 20_000;
/// Questions that are on their way at once.
const BATCH: usize = 500;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn every_answer_is_upstreams_or_marked_as_different() {
    let binaries = ensure(&[Binary::CsiTranslation], &Progress::auto()).expect("csi-translation");
    let mut upstream = Upstream::start(binaries.path(Binary::CsiTranslation));
    let inputs = number("MOORING_INPUTS").and_then(|inputs| usize::try_from(inputs).ok()).unwrap_or(INPUTS);
    let seed = number("MOORING_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("MOORING_SEED={seed} MOORING_INPUTS={inputs}");
    for plugin in Plugin::ALL {
        let mut rng = Rng::with_seed(seed);
        let mut tally = BTreeMap::<&str, usize>::new();
        for begun in (0..inputs).step_by(BATCH) {
            let batch: Vec<Question> =
                (begun..inputs.min(begun + BATCH)).map(|_| Question::random(&mut rng, plugin)).collect();
            let lines = batch.iter().map(|question| question.to_json().to_string()).collect();
            for (question, theirs) in batch.iter().zip(upstream.ask(lines)) {
                *tally.entry(compare(question, &theirs)).or_default() += 1;
            }
        }
        println!("{}: {tally:?}", plugin.name());
        // A generator that only makes errors compares nothing.
        let same = tally.get("same result").copied().unwrap_or_default();
        assert!(same * 3 > inputs, "{}: too few results: {tally:?}", plugin.name());
        assert!(
            tally.contains_key("same error") || has_no_errors(plugin),
            "{}: no errors: {tally:?}",
            plugin.name()
        );
    }
}

/// Nothing that is generated for these plugins is refused.
fn has_no_errors(plugin: Plugin) -> bool {
    [Plugin::Cinder, Plugin::Vsphere, Plugin::Portworx].contains(&plugin)
}

/// What the comparison came to, in words.
fn compare(question: &Question, theirs: &Value) -> &'static str {
    let ours = ours(question);
    let crashed = theirs.get("panic").is_some();
    let theirs = match (theirs.get("result"), theirs.get("error"), theirs.get("panic")) {
        (Some(result), None, None) => Ok(pruned(result.clone())),
        (None, Some(why), None) | (None, None, Some(why)) => Err(why.to_string()),
        _ => panic!("no answer: {theirs}"),
    };
    match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) if ours == theirs => "same result",
        (Err(_), Err(_)) if !crashed => "same error",
        _ => expected::difference(question, ours.as_ref().ok()).unwrap_or_else(|| {
            panic!("{}\n  ours {}\ntheirs {}", question.to_json(), shown(&ours), shown(&theirs))
        }),
    }
}

fn shown(outcome: &Result<Value, String>) -> String {
    match outcome {
        Ok(value) => value.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

fn ours(question: &Question) -> Result<Value, String> {
    let all = Plugins { rbd: true };
    let plugin = question.plugin();
    let result = match question {
        Question::Class { class, .. } => {
            let class = serde_json::from_value(class.clone()).expect("a class");
            all.class(plugin, class).map(|class| json!(class))
        }
        Question::Inline { volume, namespace, .. } => {
            let volume = serde_json::from_value(volume.clone()).expect("a volume");
            all.inline(&volume, namespace).map(|volume| json!(volume))
        }
        Question::ToCsi { volume, .. } => {
            all.to_csi(serde_json::from_value(volume.clone()).expect("a volume")).map(|volume| json!(volume))
        }
        Question::ToInTree { volume, .. } => all
            .to_in_tree(serde_json::from_value(volume.clone()).expect("a volume"))
            .map(|volume| json!(volume)),
        Question::Repair { handle, node, .. } => {
            all.repaired_handle(plugin, handle, node).map(|handle| json!(handle))
        }
        Question::Names { .. } => Ok(json!(plugin.driver())),
    };
    result.map(pruned).map_err(|error| error.to_string())
}

/// Without what Go leaves out of its JSON: empty maps and lists, an empty name, and the object's own type, which Go's
/// objects say only if they were given it.
fn pruned(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.remove("apiVersion");
        object.remove("kind");
        if object.get("metadata").is_some_and(|metadata| metadata["name"] == "") {
            object["metadata"]["name"] = Value::Null;
        }
    }
    without_empty(value)
}

fn without_empty(value: Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    match value {
        Value::Object(map) => {
            let fields = map.into_iter().map(|(name, value)| (name, without_empty(value)));
            Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect::<Map<_, _>>())
        }
        Value::Array(list) => list.into_iter().map(without_empty).collect(),
        other => other,
    }
}
