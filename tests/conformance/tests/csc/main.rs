//! csc against our driver: the founding documents' walk-through, and what upstream's client promises.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Command, Output};

use conformance::{Running, in_own_mounts};
use csi::Endpoint;

mod health;
mod old_driver;

fn executable() -> std::path::PathBuf {
    cluster::built::executable("csc", "csc").expect("csc")
}

/// Runs a command line; `csc` stands first in it.
fn run(line: &str) -> Output {
    with(line, &[])
}

fn with(line: &str, environment: &[(&str, &str)]) -> Output {
    let words = line.split_whitespace();
    let mut command = Command::new(executable());
    for name in ["CSI_ENDPOINT", "X_CSI_SECRETS", "X_CSI_DEBUG"] {
        command.env_remove(name);
    }
    command.args(words.skip(1)).envs(environment.iter().copied()).output().expect("it runs")
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complained(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a command that must succeed prints.
fn good(line: &str) -> String {
    let output = run(line);
    assert_eq!(output.status.code(), Some(0), "{line}: {}", complained(&output));
    said(&output)
}

/// The id in the first column of a line.
fn id(line: &str) -> String {
    line.split('\t').next().unwrap().trim().trim_matches('"').to_owned()
}

in_own_mounts!(the_walk_through_of_the_founding_documents_works, walk_through());

/// The founding documents' example of csc, each line verbatim but for the id and the target's folder.
fn walk_through() {
    inside(|folder| async move {
        let endpoint = Endpoint::parse("tcp://127.0.0.1:10000").unwrap();
        let driver = Running::start_at(&folder, endpoint, &["--nodeid=CSINode"]).await;
        let target = folder.join("hostpath").display().to_string();

        let info = good("csc identity plugin-info --endpoint tcp://127.0.0.1:10000");
        assert_eq!(info, format!("\"hostpath.csi.k8s.io\"\t\"{}\"\n", env!("CARGO_PKG_VERSION")));
        let made = good("csc controller new --endpoint tcp://127.0.0.1:10000 --cap 1,block CSIVolumeName");
        let volume = id(&made);
        assert!(
            !volume.is_empty() && made.split('\t').nth(1).unwrap().trim().parse::<u64>().unwrap() > 0,
            "{made}"
        );
        let line = format!(
            "csc controller validate-volume-capabilities --endpoint tcp://127.0.0.1:10000 --cap 1,block {volume}"
        );
        assert_eq!(good(&line), format!("\"{volume}\"\ttrue\n"));
        let line = format!(
            "csc node publish --endpoint tcp://127.0.0.1:10000 --cap 1,block --target-path {target} {volume}"
        );
        assert_eq!(good(&line), format!("{volume}\n"));
        let line =
            format!("csc node unpublish --endpoint tcp://127.0.0.1:10000 --target-path {target} {volume}");
        assert_eq!(good(&line), format!("{volume}\n"));
        assert!(!Path::new(&target).exists());
        let line = format!("csc controller del --endpoint tcp://127.0.0.1:10000 {volume}");
        assert_eq!(good(&line), format!("{volume}\n"));
        let info = good("csc node get-info --endpoint tcp://127.0.0.1:10000");
        assert!(info.starts_with("CSINode\t0"), "{info}");
        driver.stop().await;
    });
}

fn inside<F: Future<Output = ()>>(body: impl FnOnce(std::path::PathBuf) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(body(folder.path().to_owned()));
}

/// A driver on a Unix socket, and the words that name it.
async fn driver(folder: &Path, args: &[&str]) -> (Running, String) {
    let running = Running::start(folder, args).await;
    (running, format!("-e unix://{}", folder.join("csi.sock").display()))
}

#[test]
fn two_volumes_in_one_call_and_lists_page_by_page() {
    inside(|folder| async move {
        let (driver, at) = driver(&folder, &["--enable-topology=false"]).await;
        let made = good(&format!(
            "csc {at} c new --cap SINGLE_NODE_WRITER,mount --cap 5,mount,xfs,uid=500,gid=500 --req-bytes 1048576 --lim-bytes 1048576 --params a=1,b=2 one two"
        ));
        let lines: Vec<_> = made.lines().collect();
        assert_eq!(lines.len(), 2, "{made}");
        assert!(lines.iter().all(|line| line.ends_with("\t1048576\t\"a\"=\"1\"\t\"b\"=\"2\"")), "{made}");
        let first = good(&format!("csc controller list-volumes --max-entries 1 {at}"));
        let token =
            first.lines().nth(1).unwrap().strip_prefix("token=").unwrap().trim_matches('"').to_owned();
        let second = good(&format!("csc controller ls --max-entries 1 --starting-token {token} {at}"));
        assert_eq!(second.lines().count(), 1, "the last page has no token: {second}");
        let all = good(&format!(
            "csc controller volumes --max-entries 1 --paging --format {{{{.Volume.VolumeId}}}} {at}"
        ));
        let mut expected: Vec<_> = lines.iter().map(|line| id(line)).collect();
        expected.sort();
        let mut listed: Vec<_> = all.lines().map(str::to_owned).collect();
        listed.sort();
        assert_eq!(listed, expected);
        let json: String = good(&format!("csc c ls -O json {at}"));
        assert!(json.contains("\"capacity_bytes\":1048576"), "{json}");
        assert!(good(&format!("csc c ls -O yaml {at}")).starts_with("---\nentries:\n"));
        driver.stop().await;
    });
}

#[test]
fn snapshots_groups_and_modification_have_their_commands() {
    inside(|folder| async move {
        let (driver, at) =
            driver(&folder, &["--enable-controller-modify-volume", "--enable-snapshot-metadata"]).await;
        let volume = id(&good(&format!("csc c new {at} --cap 1,mount --req-bytes 1048576 one")));
        let other = id(&good(&format!("csc c new {at} --cap 1,mount --req-bytes 1048576 two")));
        let snapshot =
            good(&format!("csc c snap {at} --params ignoreFailedRead=true --source-volume {volume} cut"));
        let columns: Vec<_> = snapshot.trim_end().split('\t').collect();
        assert_eq!((columns.len(), columns[2], columns[4]), (5, volume.as_str(), "true"), "{snapshot}");
        assert!(columns[3].ends_with('Z'), "a readable time: {snapshot}");
        let cut = id(&snapshot);
        let elsewhere = run(&format!(
            "csc c snap {at} --source-volume {volume} --topology topology.hostpath.csi/node=x other"
        ));
        assert_eq!(elsewhere.status.code(), Some(8), "{}", complained(&elsewhere));
        assert_eq!(id(&good(&format!("csc c get-snapshot {at} {cut}"))), cut);
        assert_eq!(id(&good(&format!("csc c snapshots {at} --snapshot-id {cut}"))), cut);
        let restored = id(&good(&format!(
            "csc c create {at} --cap 1,mount --req-bytes 1048576 --source-snapshot {cut} copy"
        )));
        assert_ne!(restored, volume);
        assert_eq!(good(&format!("csc c delsnap {at} {cut}")), format!("{cut}\n"));
        let group = good(&format!("csc g create {at} --source-volume {volume},{other} both"));
        assert_eq!(group.lines().count(), 3, "the group and its two members: {group}");
        let members: Vec<_> = group.lines().skip(1).map(id).collect();
        let line = format!(
            "csc group delete-group-snapshot {at} --snapshot-id {} {}",
            members.join(","),
            id(&group)
        );
        assert_eq!(good(&line), format!("{}\n", id(&group)));
        assert_eq!(
            good(&format!("csc c modify {at} --mutable-params iops=5 {volume}")),
            format!("{volume}\n")
        );
        assert!(
            good(&format!("csc c get-volume {at} {volume}")).starts_with(&format!("\"{volume}\"\t1048576"))
        );
        assert_eq!(good(&format!("csc c expand {at} --req-bytes 2097152 {volume}")), "2097152\n");
        driver.stop().await;
    });
}

#[test]
fn a_failed_call_exits_with_its_code_and_a_wrong_line_with_1() {
    inside(|folder| async move {
        let (driver, at) = driver(&folder, &[]).await;
        for (line, code, text) in [
            (format!("csc c get-volume {at} nope"), 5, "nope"),
            (format!("csc c new {at} name"), 3, "capabilit"),
            ("csc i probe -e unix:///no/such.sock -t 1s".to_owned(), 14, "no/such.sock"),
            ("csc i probe".to_owned(), 1, "CSI_ENDPOINT"),
            (format!("csc c new {at} --cap 9,block name"), 1, "9"),
            (format!("csc c new {at} --cap 1,block"), 1, "NAME"),
            (format!("csc c new {at} --cap 1,block --source-volume a --source-snapshot b n"), 1, "source"),
            ("csc c nothing".to_owned(), 1, "nothing"),
            (format!("csc i probe {at} --insecure=false"), 1, "TLS"),
            (format!("csc i probe {at} -t soon"), 1, "soon"),
        ] {
            let output = run(&line);
            assert_eq!(output.status.code(), Some(code), "{line}: {}", complained(&output));
            assert!(complained(&output).contains(text), "{line}: {}", complained(&output));
        }
        driver.stop().await;
    });
}

#[test]
fn environment_names_the_endpoint_and_holds_the_secrets() {
    inside(|folder| async move {
        let (driver, at) = driver(&folder, &[]).await;
        let socket = at.trim_start_matches("-e ");
        assert_eq!(said(&with("csc identity probe", &[("CSI_ENDPOINT", socket)])), "true\n");
        let missing = run(&format!("csc c rm {at} --with-requires-creds some-id"));
        assert_eq!(
            (missing.status.code(), complained(&missing).contains("secrets is required")),
            (Some(1), true)
        );
        let debug = with(
            &format!("csc c rm {at} --with-requires-creds some-id"),
            &[("X_CSI_SECRETS", "user=me,\"password=a,hush\""), ("X_CSI_DEBUG", "true")],
        );
        assert_eq!(debug.status.code(), Some(0), "{}", complained(&debug));
        let log = complained(&debug);
        assert!(log.contains("/csi.v1.Controller/DeleteVolume") && log.contains("***stripped***"), "{log}");
        assert!(!log.contains("hush"), "{log}");
        driver.stop().await;
    });
}

#[test]
fn validation_stops_a_request_that_breaks_the_specification() {
    inside(|folder| async move {
        let (driver, at) = driver(&folder, &[]).await;
        let long = "x".repeat(129);
        let output = run(&format!("csc c rm {at} --with-spec-validation {long}"));
        assert_eq!(output.status.code(), Some(1));
        assert!(
            complained(&output).contains("volume_id has 129 bytes, 128 are allowed"),
            "{}",
            complained(&output)
        );
        let everything = "csc i info,csc i caps,csc i probe,csc c capabilities,csc n capabilities,csc n info,csc c ls,csc c capacity";
        for line in everything.split(',') {
            good(&format!("{line} {at} --with-spec-validation"));
        }
        driver.stop().await;
    });
}

#[test]
fn help_completions_and_nothing_at_all_exit_with_0() {
    for line in
        ["csc", "csc --help", "csc controller --help", "csc c create-volume -h", "csc completions bash"]
    {
        assert!(!good(line).is_empty(), "{line}");
    }
}
