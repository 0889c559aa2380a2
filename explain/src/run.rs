//! Asks and decides until nothing new is asked, prints the answer, and with `--watch` does so again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use kube::Client;
use kubernetes::client::{ClientError, ClientOptions, as_kubectl, client};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::ask::{Ask, Kind};
use crate::decide::{NoAnswer, Target, decide, gone, unread};
use crate::finding::Answer;
use crate::flags::{Flags, Request};
use crate::print;
use crate::read::{read, watch};
use crate::tries::{elsewhere, tries};
use crate::view::View;

/// Changes that come within this time after one another are one.
const TOGETHER: Duration = Duration::from_secs(1);

/// Why the command ends without an answer.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("cannot print the answer: {0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot print the answer: {0}")]
    Print(#[from] std::io::Error),
}

/// Prints why the object is not ready. Returns the exit code: 0 if there was an answer, also if the object is not ready.
pub async fn main(request: &Request) -> u8 {
    match begin(request).await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("mooring explain: {error}");
            1
        }
    }
}

async fn begin(request: &Request) -> Result<(), ExplainError> {
    let Flags { kubeconfig, context, .. } = &request.flags;
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let connection = ClientOptions {
        kubeconfig: as_kubectl(kubeconfig),
        context: given(context),
        user_agent: format!("mooring-explain/{}", env!("CARGO_PKG_VERSION")),
        ..ClientOptions::default()
    };
    let client = client(&connection).await?;
    let mut target = request.target.clone();
    match target.kind {
        Kind::Claim | Kind::Snapshot if target.namespace.is_empty() => {
            client.default_namespace().clone_into(&mut target.namespace);
        }
        Kind::Claim | Kind::Snapshot => {}
        _ => target.namespace.clear(),
    }
    let mut view = View::new(Timestamp::now());
    if request.flags.watch {
        return keep(&client, view, &target, request).await;
    }
    let (answer, _) = settle(&client, &mut view, &target).await;
    let mut answer = answer?;
    ask_sidecars(&client, &mut answer, request).await;
    show(answer, request)
}

/// Adds what the status pages say about the object.
async fn ask_sidecars(client: &Client, answer: &mut Answer, request: &Request) {
    let object = match answer.namespace.as_str() {
        "" => answer.name.clone(),
        namespace => format!("{namespace}/{}", answer.name),
    };
    for place in &request.pages {
        let unread = match place.read(client, &object).await {
            Ok(page) => {
                answer.tries.extend(tries(&page, answer.kind, &object));
                elsewhere(&page)
            }
            Err(error) => Some(error.to_string()),
        };
        answer.unread.extend(unread.map(|why| format!("status page {place}: {why}")));
    }
}

fn show(mut answer: Answer, request: &Request) -> Result<(), ExplainError> {
    for command in answer.findings.iter_mut().flat_map(|finding| &mut finding.run) {
        *command = aimed(command, request);
    }
    match request.flags.output.as_str() {
        "json" => say(&print::json(&answer)?),
        _ => say(&print::text(&answer, Timestamp::now())),
    }
}

/// Prints it. Whoever reads may have seen enough, as `head` does.
fn say(text: &str) -> Result<(), ExplainError> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// The command for the cluster that was asked, and as the user calls us: it must not run against another one.
fn aimed(command: &str, request: &Request) -> String {
    let Flags { context, kubeconfig, .. } = &request.flags;
    let flags = [("context", context), ("kubeconfig", kubeconfig)];
    let flags: String = flags
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!(" --{name}={}", word(value)))
        .collect();
    match (command.strip_prefix("mooring explain"), command.strip_prefix("kubectl")) {
        (Some(rest), _) => format!("{}{flags}{rest}", request.program),
        (None, Some(rest)) => format!("kubectl{flags}{rest}"),
        (None, None) => command.to_owned(),
    }
}

/// The word as a shell reads it.
fn word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=./:,@+".contains(letter);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Decides, reads what was asked, and decides again until all is known. Also gives what the answer depends on.
async fn settle(
    client: &Client,
    view: &mut View,
    target: &Target,
) -> (Result<Answer, NoAnswer>, BTreeSet<Ask>) {
    loop {
        let answer = decide(view, target);
        let asked = view.asked();
        let new: Vec<Ask> = asked.iter().filter(|ask| !view.knows(ask)).cloned().collect();
        if new.is_empty() {
            let answer = answer.map(|mut answer| {
                answer.unread = unread(asked.iter().filter_map(|ask| Some((ask, view.found(ask)?))));
                answer
            });
            return (answer, asked);
        }
        let mut reads: FuturesUnordered<_> =
            new.into_iter().map(async |ask| (read(client, &ask).await, ask)).collect();
        while let Some((found, ask)) = reads.next().await {
            view.learn(ask, found);
        }
    }
}

/// Prints the answer, and again whenever it changes, until the process is ended.
async fn keep(
    client: &Client,
    mut view: View,
    target: &Target,
    request: &Request,
) -> Result<(), ExplainError> {
    let (tell, mut told) = channel(1000);
    let mut watches = Watches { client: client.clone(), tell, running: BTreeMap::new() };
    let mut last = None;
    loop {
        view.now = Timestamp::now();
        let (mut answer, asked) = settle(client, &mut view, target).await;
        if let Ok(answer) = &mut answer {
            ask_sidecars(client, answer, request).await;
        }
        let again = answer.as_ref().ok().and_then(|answer| again(answer, view.now));
        let shown =
            answer.as_ref().map_or_else(NoAnswer::to_string, |answer| format!("{:?}", without_time(answer)));
        let is_first = last.is_none();
        if last.as_ref() != Some(&shown) {
            match answer {
                Ok(answer) => show(answer, request)?,
                Err(error) if is_first => return Err(error.into()),
                // It may come again, or the API server may.
                Err(NoAnswer::NotFound(_)) => show(gone(target), request)?,
                Err(error) => eprintln!("mooring explain: {error}"),
            }
            if request.flags.output == "text" {
                say("")?;
            }
            last = Some(shown);
        }
        watches.only(&asked);
        for ask in changed(&mut told, again).await {
            view.forget(&ask);
        }
    }
}

/// When time alone may change the answer, or a sidecar tries again. While a sidecar works on the object, or its page cannot be read,
/// nobody says when: then it is soon. A time that has passed, by this machine's clock, is soon too.
fn again(answer: &Answer, now: Timestamp) -> Option<Timestamp> {
    let soon = now.checked_add(SOON).unwrap_or(now);
    let is_unsaid = !answer.unread.is_empty() || answer.tries.iter().any(|each| each.next.is_none());
    let said = answer.tries.iter().filter_map(|each| each.next).chain(answer.again);
    said.map(|at| if at <= now { soon } else { at }).chain(is_unsaid.then_some(soon)).min()
}

/// Until a page is read again that does not say when.
const SOON: Duration = Duration::from_secs(5);

/// What is printed of it.
fn without_time(answer: &Answer) -> Answer {
    Answer { again: None, ..answer.clone() }
}

/// Waits until something changes, or until this time.
async fn changed(told: &mut Receiver<Ask>, again: Option<Timestamp>) -> BTreeSet<Ask> {
    let left = again.map(|at| Timestamp::now().duration_until(at));
    let left = left.map(|left| Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1));
    let first = match left {
        Some(left) => tokio::time::timeout(left, told.recv()).await.ok().flatten(),
        None => told.recv().await,
    };
    let mut changed: BTreeSet<Ask> = first.into_iter().collect();
    if !changed.is_empty() {
        tokio::time::sleep(TOGETHER).await;
    }
    while let Ok(ask) = told.try_recv() {
        changed.insert(ask);
    }
    changed
}

/// A watch for each question that the answer depends on.
struct Watches {
    client: Client,
    tell: Sender<Ask>,
    running: BTreeMap<Ask, JoinHandle<()>>,
}

impl Watches {
    /// Watches these, and nothing else.
    fn only(&mut self, asked: &BTreeSet<Ask>) {
        self.running.retain(|ask, watch| {
            let stays = asked.contains(ask);
            if !stays {
                watch.abort();
            }
            stays
        });
        for ask in asked {
            let begin = || tokio::spawn(watch(self.client.clone(), ask.clone(), self.tell.clone()));
            self.running.entry(ask.clone()).or_insert_with(begin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tries::Try;

    #[test]
    fn pages_are_asked_again_at_the_earliest_next_try() {
        let at = |second| Timestamp::from_second(second).ok();
        let each = |next| Try {
            program: String::new(),
            operation: String::new(),
            state: String::new(),
            failures: 0,
            next,
            error: None,
        };
        let now = Timestamp::from_second(10).unwrap();
        let answer = |tries, again| Answer {
            kind: "PersistentVolumeClaim",
            namespace: String::new(),
            name: String::new(),
            state: String::new(),
            findings: Vec::new(),
            tries,
            unread: Vec::new(),
            again,
        };
        let all = vec![each(at(30)), each(at(20))];
        for (tries, own, expected) in [
            (vec![], None, None),
            (vec![each(None)], at(40), at(15)),
            (vec![each(None), each(at(12))], None, at(12)),
            (all.clone(), None, at(20)),
            (all.clone(), at(40), at(20)),
            (all.clone(), at(11), at(11)),
            (all, at(9), at(15)),
        ] {
            assert_eq!(again(&answer(tries, own), now), expected);
        }
        let unread = Answer { unread: vec!["no answer".to_owned()], ..answer(vec![], None) };
        assert_eq!(again(&unread, now), at(15));
    }

    #[test]
    fn commands_are_for_the_cluster_that_was_asked() {
        let args = ["pvc", "data", "--context", "it's prod", "--kubeconfig=/k"].map(str::to_owned).to_vec();
        let request = crate::flags::parse("kubectl mooring explain", args).unwrap();
        let flags = r"--context='it'\''s prod' --kubeconfig=/k";
        assert_eq!(aimed("kubectl -n a get pvc", &request), format!("kubectl {flags} -n a get pvc"));
        assert_eq!(aimed("mooring explain pv p", &request), format!("kubectl mooring explain {flags} pv p"));
        let plain = crate::flags::parse("mooring explain", vec!["pv".to_owned(), "p".to_owned()]).unwrap();
        assert_eq!(aimed("mooring explain pv p", &plain), "mooring explain pv p");
    }
}
