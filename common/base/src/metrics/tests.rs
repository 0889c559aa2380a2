//! The page as a whole.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

const METHOD: &str = "/csi.v1.Controller/CreateVolume";

/// The page's samples whose line begins with this.
fn samples(metrics: &Metrics, prefix: &str) -> Vec<String> {
    metrics.render().lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
}

#[test]
fn calls_stay_under_unknown_driver_until_the_name_is_known() {
    let metrics = Metrics::new();
    metrics.observe_call("/csi.v1.Identity/Probe", "OK", 0.2, None);
    metrics.set_driver_name("hostpath.csi.k8s.io");
    metrics.observe_call(METHOD, "DeadlineExceeded", 1.5, Some(false));
    assert_eq!(
        samples(&metrics, "csi_sidecar_operations_seconds_count"),
        [
            format!("csi_sidecar_operations_seconds_count{{driver_name=\"hostpath.csi.k8s.io\",grpc_status_code=\"DeadlineExceeded\",method_name=\"{METHOD}\"}} 1"),
            "csi_sidecar_operations_seconds_count{driver_name=\"unknown-driver\",grpc_status_code=\"OK\",method_name=\"/csi.v1.Identity/Probe\"} 1".to_owned(),
        ]
    );
}

#[test]
fn only_migrated_drivers_have_the_migrated_label() {
    let metrics = Metrics::new();
    metrics.observe_call("/p", "OK", 0.2, None);
    metrics.set_driver_name("ebs.csi.aws.com");
    metrics.observe_call("/a", "OK", 0.2, None);
    metrics.observe_call("/b", "OK", 0.2, Some(true));
    let counts = samples(&metrics, "csi_sidecar_operations_seconds_count");
    assert_eq!(counts.len(), 3);
    let of = |method: &str| counts.iter().find(|line| line.contains(method)).unwrap().clone();
    assert!(!of("\"/p\"").contains("migrated"));
    assert!(of("\"/a\"").contains("migrated=\"false\""));
    assert!(of("\"/b\"").contains("migrated=\"true\""));
}

#[test]
fn call_buckets_are_upstreams() {
    let metrics = Metrics::new();
    metrics.observe_call("/p", "OK", 0.2, None);
    let bounds: Vec<String> = samples(&metrics, "csi_sidecar_operations_seconds_bucket")
        .iter()
        .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next().map(str::to_owned))
        .collect();
    assert_eq!(bounds.join(" "), "0.1 0.25 0.5 1 2.5 5 10 15 25 50 120 300 600 +Inf");
    let help = "# HELP csi_sidecar_operations_seconds [ALPHA] Container Storage Interface operation duration with gRPC error code status total";
    assert!(metrics.render().lines().any(|line| line == help));
}

#[test]
fn queue_buckets_are_client_gos() {
    let metrics = Metrics::new();
    let _idle = metrics.queue("claims");
    let bounds: Vec<String> = samples(&metrics, "workqueue_work_duration_seconds_bucket")
        .iter()
        .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next().map(str::to_owned))
        .collect();
    assert_eq!(
        bounds.join(" "),
        "1e-08 1e-07 1e-06 9.999999999999999e-06 9.999999999999999e-05 0.001 0.01 0.1 1 10 +Inf"
    );
}

#[tokio::test(start_paused = true)]
async fn ages_and_unfinished_work_are_those_of_the_moment_of_reading() {
    let metrics = Metrics::new();
    let queue = metrics.queue("claims");
    queue.count_adds(2);
    queue.count_retry();
    queue.count_panic();
    let since = tokio::time::Instant::now();
    queue.ask_what_waits(move || Waiting { depth: 1, oldest: Some(since) });
    let first = queue.begin_work(Duration::from_secs(2));
    tokio::time::advance(Duration::from_secs(5)).await;
    let _second = queue.begin_work(Duration::ZERO);
    tokio::time::advance(Duration::from_secs(1)).await;

    for (family, want) in [
        ("workqueue_depth", 1),
        ("workqueue_adds_total", 2),
        ("workqueue_retries_total", 1),
        ("mooring_workqueue_panics_total", 1),
        ("workqueue_unfinished_work_seconds", 7),
        ("workqueue_longest_running_processor_seconds", 6),
        ("mooring_workqueue_oldest_item_age_seconds", 6),
        ("workqueue_queue_duration_seconds_sum", 2),
        ("workqueue_queue_duration_seconds_count", 2),
        ("workqueue_work_duration_seconds_count", 0),
    ] {
        let line = format!("{family}{{name=\"claims\"}} {want}");
        assert_eq!(samples(&metrics, &format!("{family}{{")), [line]);
    }

    drop(first);
    for (family, want) in [
        ("workqueue_unfinished_work_seconds", 1),
        ("workqueue_longest_running_processor_seconds", 1),
        ("workqueue_work_duration_seconds_sum", 6),
    ] {
        let line = format!("{family}{{name=\"claims\"}} {want}");
        assert_eq!(samples(&metrics, &format!("{family}{{")), [line]);
    }
}

#[tokio::test(start_paused = true)]
async fn queues_of_one_name_are_summed_up() {
    let metrics = Metrics::new();
    let (first, second) = (metrics.queue("claims"), metrics.queue("claims"));
    let early = tokio::time::Instant::now();
    tokio::time::advance(Duration::from_secs(3)).await;
    let late = tokio::time::Instant::now();
    first.ask_what_waits(move || Waiting { depth: 2, oldest: Some(late) });
    second.ask_what_waits(move || Waiting { depth: 1, oldest: Some(early) });
    metrics.queue("claims").ask_what_waits(Waiting::default);
    first.count_adds(1);
    second.count_adds(2);
    for (family, want) in [
        ("workqueue_depth", 3),
        ("workqueue_adds_total", 3),
        ("mooring_workqueue_oldest_item_age_seconds", 3),
    ] {
        let line = format!("{family}{{name=\"claims\"}} {want}");
        assert_eq!(samples(&metrics, &format!("{family}{{")), [line]);
    }
}

#[test]
fn leader_status_begins_as_candidate() {
    let metrics = Metrics::new();
    let leader = metrics.leader("");
    let family = "leader_election_master_status";
    assert_eq!(samples(&metrics, family), [format!("{family}{{name=\"\"}} 0")]);
    leader.set_leader(true);
    leader.count_slow_path();
    assert_eq!(samples(&metrics, family), [format!("{family}{{name=\"\"}} 1")]);
    let family = "leader_election_slowpath_total";
    assert_eq!(samples(&metrics, family), [format!("{family}{{name=\"\"}} 1")]);
}

#[test]
fn scrapes_count_themselves() {
    let metrics = Metrics::new();
    assert!(metrics.scrape(&[]).contains("promhttp_metric_handler_requests_in_flight 1\n"));
    let page = metrics.render();
    assert!(page.contains("promhttp_metric_handler_requests_in_flight 0\n"));
    assert!(page.contains("promhttp_metric_handler_requests_total{code=\"200\"} 1\n"));
    assert!(page.contains("promhttp_metric_handler_requests_total{code=\"500\"} 0\n"));
}

#[test]
fn a_name_is_registered_once() {
    let metrics = Metrics::new();
    assert!(metrics.counter("x_total", "X.", &["a"]).is_ok());
    assert!(metrics.counter("x_total", "X.", &["a"]).is_err());
    assert!(metrics.gauge("bad name", "X.", &[]).is_err());
}

#[test]
fn promtool_finds_nothing_wrong() {
    let metrics = Metrics::new();
    metrics.observe_call(METHOD, "OK", 0.2, None);
    metrics.set_driver_name("csi.vsphere.vmware.com");
    metrics.observe_call(METHOD, "ResourceExhausted", 700.0, Some(true));
    drop(metrics.queue("claims \"quoted\"\n").begin_work(Duration::from_millis(3)));
    metrics.leader("").set_leader(true);
    metrics.count_malformed("PersistentVolume");
    let sizes = metrics.histogram("sizes_seconds", "Sizes \\ of\nthings.", &[], DEFAULT_BUCKETS);
    sizes.unwrap().with_label_values::<&str>(&[]).observe(1.0);

    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) => {
            println!(
                "skipped: promtool on the metrics page: it does not run: {error}; apt-get install prometheus"
            );
            return;
        }
    };
    promtool.stdin.take().unwrap().write_all(metrics.scrape(&[]).as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}
