//! The answer as text, and as JSON.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::finding::{Answer, Finding};
use crate::tries::Try;

/// A few lines for people.
pub(crate) fn text(answer: &Answer, now: Timestamp) -> String {
    let mut lines = vec![format!("{} is {}", subject(answer), answer.state)];
    for finding in &answer.findings {
        lines.push(String::new());
        lines.extend(block(finding, now));
    }
    for each in &answer.tries {
        lines.push(String::new());
        lines.extend(attempt(each, now));
    }
    if !answer.unread.is_empty() {
        lines.push(String::new());
    }
    lines.extend(answer.unread.iter().map(|line| format!("not read: {line}")));
    lines.join("\n")
}

fn subject(answer: &Answer) -> String {
    match answer.namespace.as_str() {
        "" => format!("{} {}", answer.kind, answer.name),
        namespace => format!("{} {namespace}/{}", answer.kind, answer.name),
    }
}

fn block(finding: &Finding, now: Timestamp) -> Vec<String> {
    let mut lines =
        vec![format!("  happened:  {}", finding.happened), format!("  waits for: {}", finding.waits)];
    if let Some(since) = finding.since {
        lines.push(format!("  since:     {} ({})", moment(since), age(now.duration_since(since))));
    }
    lines.push(format!("  who acts:  {}", finding.who.words()));
    lines.extend(finding.error.iter().map(|error| format!("  error:     {error}")));
    lines.extend(finding.run.iter().map(|command| format!("  run:       {command}")));
    lines
}

fn attempt(each: &Try, now: Timestamp) -> Vec<String> {
    let Try { program, operation, state, failures, next, error } = each;
    let failed = if *failures > 0 { format!(", {failures} failures in a row") } else { String::new() };
    let mut lines = vec![format!("  {program}: {operation}: it {state}{failed}")];
    if let Some(next) = next {
        lines.push(format!("  next try:  {} (in {})", moment(*next), age(next.duration_since(now))));
    }
    lines.extend(error.iter().map(|error| format!("  error:     {error}")));
    lines
}

fn moment(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// As kubectl shows ages.
fn age(age: SignedDuration) -> String {
    let seconds = age.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    api_version: &'static str,
    kind: &'static str,
    object: JsonObject<'a>,
    ready: bool,
    state: &'a str,
    findings: Vec<JsonFinding<'a>>,
    /// Only with `--status`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tries: Vec<JsonTry<'a>>,
    unread: &'a [String],
}

#[derive(Serialize)]
struct JsonObject<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonFinding<'a> {
    cause: &'a str,
    happened: &'a str,
    waits_for: &'a str,
    since: Option<String>,
    who: &'a str,
    error: Option<&'a str>,
    run: &'a [String],
}

impl<'a> JsonFinding<'a> {
    fn of(finding: &'a Finding) -> Self {
        Self {
            cause: finding.cause,
            happened: &finding.happened,
            waits_for: &finding.waits,
            since: finding.since.map(moment),
            who: finding.who.word(),
            error: finding.error.as_deref(),
            run: &finding.run,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonTry<'a> {
    program: &'a str,
    operation: &'a str,
    state: &'a str,
    failures: u64,
    next_try: Option<String>,
    error: Option<&'a str>,
}

impl<'a> JsonTry<'a> {
    fn of(each: &'a Try) -> Self {
        Self {
            program: &each.program,
            operation: &each.operation,
            state: &each.state,
            failures: each.failures,
            next_try: each.next.map(moment),
            error: each.error.as_deref(),
        }
    }
}

/// For programs: the shape is in docs/explain.md.
///
/// # Errors
/// Never in practice: the answer holds texts only.
pub(crate) fn json(answer: &Answer) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&Json {
        api_version: "mooring.dev/v1",
        kind: "Explanation",
        object: JsonObject { kind: answer.kind, namespace: &answer.namespace, name: &answer.name },
        ready: answer.findings.is_empty(),
        state: &answer.state,
        findings: answer.findings.iter().map(JsonFinding::of).collect(),
        tries: answer.tries.iter().map(JsonTry::of).collect(),
        unread: &answer.unread,
    })
}

#[cfg(test)]
mod tests;
