//! Numbers, parents, bounds, and what costs nothing.

use tokio_util::sync::CancellationToken;

use super::*;
use crate::metrics::Metrics;
use crate::queue::{Backoff, Job, Limits, Outcome, Place, WorkQueue};

fn description(name: &'static str) -> Description {
    Description { name: name.into(), kind: Kind::Client, attributes: Vec::new() }
}

fn fine() -> Option<fn() -> String> {
    None
}

fn traced(sampler: Sampler) -> (Arc<Metrics>, Tracer, Spans) {
    let metrics = Metrics::new();
    let spans = metrics.trace(sampler).unwrap();
    let tracer = metrics.traces().get().unwrap().clone();
    (metrics, tracer, spans)
}

#[tokio::test(start_paused = true)]
async fn child_has_its_parent_s_trace_and_a_number_of_its_own() {
    let (_metrics, tracer, mut spans) = traced(Sampler::default());
    let turn = tracer.begin(|| description("turn"));
    let mut call = turn.child(|| description("call"));
    let traceparent = call.traceparent();
    call.note("code", 13);
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    call.end(Some(|| "no ".repeat(1_000)));
    turn.end(fine());
    let (call, turn) = (spans.ended.try_recv().unwrap(), spans.ended.try_recv().unwrap());
    assert_eq!((call.ids.trace, call.parent, turn.parent), (turn.ids.trace, Some(turn.ids.span), None));
    assert_ne!(call.ids.span, turn.ids.span);
    assert_eq!(traceparent, format!("00-{:032x}-{:016x}-01", turn.ids.trace, call.ids.span));
    assert_eq!((call.ended - call.begun, call.attributes.len()), (std::time::Duration::from_secs(2), 1));
    assert_eq!((call.error.map(|text| text.len()), turn.error), (Some(1024), None));
}

#[tokio::test]
async fn span_whose_work_is_given_up_says_so() {
    let (_metrics, tracer, mut spans) = traced(Sampler::default());
    drop(tracer.begin(|| description("turn")));
    assert!(spans.ended.try_recv().unwrap().error.unwrap().starts_with("given up"));
    assert!(spans.ended.try_recv().is_err(), "it ends once");
}

#[tokio::test]
async fn full_channel_drops_and_counts() {
    let (metrics, tracer, spans) = traced(Sampler::default());
    for _ in 0..2_050 {
        tracer.begin(|| description("turn")).end(fine());
    }
    assert_eq!(spans.ended.len(), 2_048);
    assert!(metrics.render().contains("mooring_trace_spans_dropped_total 2\n"));
}

#[tokio::test]
async fn trace_that_is_not_kept_is_not_described_but_told_to_others() {
    let (_metrics, tracer, mut spans) = traced(Sampler::parse("always_off", "").unwrap());
    let turn = tracer.begin(|| panic!("nobody needs it"));
    let mut call = turn.child(|| panic!("nobody needs it"));
    call.note("code", 13);
    assert!(call.traceparent().ends_with("-00"));
    call.end(Some(|| panic!("nobody needs it")));
    drop(turn);
    assert!(spans.ended.try_recv().is_err());
}

/// A key that must not be printed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Unprintable;

impl std::fmt::Display for Unprintable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("nobody needs it")
    }
}

#[test]
fn nothing_is_allocated_while_nothing_is_traced() {
    let metrics = Metrics::new();
    let queue = metrics.queue("q").doing("grow", "PersistentVolumeClaim");
    let allocated = allocation_counter::measure(|| {
        assert!(queue.begin_turn(&Unprintable, std::time::Duration::ZERO).is_none());
        assert!(crate::noted::child(|| panic!("nobody needs it")).is_none());
    });
    assert_eq!(allocated.count_total, 0);
    // A queue without a name for what it does is not traced.
    let _spans = metrics.trace(Sampler::default()).unwrap();
    assert!(metrics.queue("q").begin_turn(&Unprintable, std::time::Duration::ZERO).is_none());
    assert!(metrics.trace(Sampler::default()).is_none(), "one tracer a process");
}

/// Grows what is asked, or panics.
struct Grow;

impl Job<&'static str> for Grow {
    async fn run(&self, key: &'static str) -> Outcome {
        let call = crate::noted::child(|| description("call")).unwrap();
        if key == "ns/bad" {
            panic!("on purpose");
        }
        tokio::task::yield_now().await;
        call.end(fine());
        Outcome::Done
    }
}

#[tokio::test(start_paused = true)]
async fn pass_over_a_key_is_a_span_and_a_panic_ends_it() {
    let second = std::time::Duration::from_secs(1);
    let metrics = Metrics::new();
    let mut spans = metrics.trace(Sampler::default()).unwrap();
    let lane = metrics.queue("q").doing("grow", "PersistentVolumeClaim");
    let queue = WorkQueue::new(Backoff { base: 9 * second, max: 9 * second }, Limits::plain(), vec![lane]);
    queue.add("ns/good", Place::lane(0));
    queue.add("ns/bad", Place::lane(0));
    let _ = tokio::time::timeout(second, queue.run(1, Arc::new(Grow), CancellationToken::new())).await;
    let ended: Vec<Span> = std::iter::from_fn(|| spans.ended.try_recv().ok()).collect();
    let names: Vec<&str> = ended.iter().map(|span| span.name.as_ref()).collect();
    let turn = "grow PersistentVolumeClaim";
    assert_eq!(names, ["call", turn, "call", turn]);
    let said = |name: &str, value: &str| (name.to_owned().into(), Attribute::from(value));
    for expected in [
        said("k8s.persistentvolumeclaim.name", "good"),
        said("k8s.namespace.name", "ns"),
        said("mooring.queue", "q"),
        said("mooring.outcome", "done"),
    ] {
        assert!(ended[1].attributes.contains(&expected), "{expected:?}: {ended:#?}");
    }
    assert_eq!((ended[0].parent, &ended[1].error), (Some(ended[1].ids.span), &None));
    assert!(ended[2..].iter().all(|span| span.error.as_ref().unwrap().starts_with("given up")), "{ended:#?}");
    assert_ne!(ended[1].ids.trace, ended[3].ids.trace, "each pass is a trace");
}

#[test]
fn samplers_are_those_of_the_specification() {
    let kept = |name, argument| {
        let sampler = Sampler::parse(name, argument).unwrap();
        // The low half of a trace's number decides, as in Go.
        [0, u64::MAX / 4, u64::MAX / 2 + 1, u64::MAX].map(|low| sampler.keeps(u128::from(low)))
    };
    for name in ["", "always_on", "parentbased_always_on", "traceidratio"] {
        assert_eq!(kept(name, ""), [true; 4], "{name}");
    }
    assert_eq!(kept("always_off", ""), [false; 4]);
    assert_eq!(kept("traceidratio", "1"), [true; 4]);
    assert_eq!(kept("parentbased_traceidratio", "0.5"), [true, true, false, false]);
    assert_eq!(kept("traceidratio", "0.3"), [true, true, false, false]);
    assert_eq!(kept("traceidratio", "0"), [false; 4]);
    for ratio in ["1.1", "-1", "NaN", "half"] {
        assert_eq!(Sampler::parse("traceidratio", ratio), Err(SamplerError::Ratio(ratio.to_owned())));
    }
    assert_eq!(Sampler::parse("jaeger_remote", ""), Err(SamplerError::Name("jaeger_remote".to_owned())));
}
