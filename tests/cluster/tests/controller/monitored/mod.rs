//! Two processes and a real Prometheus that scrapes them: a burst of claims, calls that fail, a driver that hangs, another leader. Which
//! alerts fire, and what each panel of the dashboard shows.

mod panels;
mod rules;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cluster::prometheus::{Prometheus, Target};
use cluster::stand::{Stand, has_hosts};
use cluster::{Signal, browser};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::{DeleteParams, ListParams};

use crate::{LIMIT, PROVISIONER, attach, attached, holder, node, up, volumes, wait_for};

const WHAT: &str = "alerts and dashboard of a burst of claims";
const CLAIMS: usize = 1_000;
const ATTACHED: usize = 60;
const DELETED: usize = 100;
/// Claims that are made while the driver hangs.
const LATE: usize = 12;
const PODS: [&str; 2] = ["driver-0", "driver-1"];
/// Where the attachments go, in turn.
const NODES: [&str; 6] = ["node-1", "node-1", "node-1", "node-2", "node-2", "node-3"];

/// How many claims have their volume.
async fn bound(claims: &Api<PersistentVolumeClaim>) -> usize {
    volumes(claims).await.len()
}

/// Claims that are made, some of them attached and some deleted; calls that fail.
async fn work(stand: &Stand, claims: &Api<PersistentVolumeClaim>) {
    let key = [
        ("csi.storage.k8s.io/provisioner-secret-name", "backend"),
        ("csi.storage.k8s.io/provisioner-secret-namespace", "default"),
    ];
    stand.class("locked", "Delete", "Immediate", &key).await;
    for number in 0..3 {
        stand.claim(&format!("too-large-{number}"), "csi", "2Ti").await;
        stand.claim(&format!("no-secret-{number}"), "locked", "1Mi").await;
    }
    for (volume, node) in volumes(claims).await.iter().take(ATTACHED).zip(NODES.iter().cycle()) {
        attach(stand, volume, node).await;
    }
    for number in CLAIMS - DELETED..CLAIMS {
        claims.delete(&format!("claim-{number}"), &DeleteParams::default()).await.expect("deleted");
    }
}

/// The driver hangs while claims and detaches wait for it, until `alert` fires; then it goes on, and the alert ends. Since when it hung.
async fn hang(stand: &mut Stand, prometheus: &Prometheus, alert: &str) -> SystemTime {
    stand.signal_driver(Signal::STOP);
    let start = SystemTime::now();
    for number in 0..LATE {
        stand.claim(&format!("late-{number}"), "csi", "1Mi").await;
    }
    let attachments: Api<VolumeAttachment> = Api::all(stand.client.clone());
    attachments.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("deleted");
    let fires = async |since| prometheus.fired(since).await.iter().any(|name| name == alert);
    wait_for("the alert", async || fires(start).await).await;
    let fired = prometheus.fired(start).await;
    println!("fired {} s after the driver hung: {fired:?}", start.elapsed().expect("time goes on").as_secs());
    stand.signal_driver(Signal::CONT);
    wait_for("the alert to end", async || !fires(SystemTime::now()).await).await;
    start
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn burst_fires_nothing_and_a_driver_that_hangs_does() {
    if !has_hosts(WHAT) {
        return;
    }
    let mut stand = up("monitored").await;
    for name in ["node-2", "node-3"] {
        node(&stand, name).await;
    }
    // Calls that hang must not end before an alert says so.
    let flags = ["--leader-election", "--timeout=60s"];
    let mut first = stand.replica("controller", PODS[0], &flags);
    wait_for("a leader", async || holder(&stand, PROVISIONER).await == PODS[0]).await;
    let _second = stand.replica("controller", PODS[1], &flags);
    let targets = PODS.map(|pod| Target { port: stand.port(pod), pod });
    let folder = stand.control_plane.folder().to_owned();
    let Some(prometheus) = Prometheus::start(&folder, &targets, &rules::sixty_times_faster(), WHAT).await
    else {
        return;
    };
    let start = SystemTime::now();
    let leads = async |pod: &str, since| {
        prometheus.range(&format!("leader_election_master_status{{pod=\"{pod}\"}} == 1"), since).await.len()
            == 3
    };
    wait_for("a scrape", async || leads(PODS[0], start).await).await;

    let claims = stand.claims(CLAIMS, "csi").await;
    wait_for("the claims to be bound", async || bound(&claims).await == CLAIMS).await;
    println!("the burst took {} s", start.elapsed().expect("time goes on").as_secs());
    assert_eq!(prometheus.fired(start).await, Vec::<String>::new(), "a burst is no fault");

    work(&stand, &claims).await;
    let attachments = Api::all(stand.client.clone());
    wait_for("the volumes to be attached", async || attached(&attachments).await == ATTACHED).await;
    let hung = hang(&mut stand, &prometheus, "CSISidecarCallHangs").await;
    wait_for("the last claims to be bound", async || bound(&claims).await == CLAIMS - DELETED + LATE).await;
    wait_for("the volumes to be detached", async || attached(&attachments).await == 0).await;
    first.terminate(LIMIT).await.expect("it ends");
    wait_for("another leader", async || leads(PODS[1], hung).await).await;

    let panels = panels::of(&prometheus, start).await;
    let empty: Vec<&str> = panels.iter().filter(|panel| panel.is_empty()).map(panels::Panel::title).collect();
    assert_eq!(empty, ["Objects that could not be read"], "there are none in this run");
    photograph(&panels, &folder);
}

/// `MOORING_BLESS=1` puts the picture into docs.
fn photograph(panels: &[panels::Panel], folder: &Path) {
    if !browser::is_here("a picture of the dashboard") {
        return;
    }
    let file = match std::env::var_os("MOORING_BLESS") {
        Some(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/dashboard.png"),
        None => PathBuf::from(folder).join("dashboard.png"),
    };
    let page = folder.join("dashboard.html");
    let (html, height) = panels::page(panels);
    std::fs::write(&page, html).expect("written");
    let url = format!("file://{}", page.display());
    let (document, console) = browser::document(&url).expect("a browser");
    assert_eq!(console, "", "the browser complains of nothing");
    for panel in panels {
        assert!(document.contains(&cluster::plot::escaped(panel.title())), "{} is not seen", panel.title());
    }
    assert!(browser::picture(&url, panels::WIDTH, height, &file).expect("a browser"));
    let picture = std::fs::read(&file).expect("a picture");
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 100_000, "{} bytes", picture.len());
}
