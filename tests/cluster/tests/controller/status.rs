//! The status page: in a real browser, by `mooring explain`, and with TLS and tokens that the real API server knows.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cluster::account::token_of;
use cluster::apply::documents;
use cluster::browser;
use cluster::built::executable;
use cluster::stand::Stand;
use cluster::tls::{answer, write_certificate};
use serde_json::{Value, json};

use crate::{NAME, attach, up, volumes, wait_for};

const TOO_LARGE: &str = "code = OutOfRange";

/// What waits for an operation.
fn waiting<'a>(page: &'a Value, operation: &str) -> &'a Value {
    let operations = page["operations"].as_array().expect("operations");
    operations.iter().find(|each| each["operation"] == operation).expect("the operation")
}

async fn page(stand: &Stand) -> Value {
    let answer = stand.get("one", "/status?format=json").await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

/// How many objects of an operation have an error.
fn failed(page: &Value, operation: &str) -> usize {
    let objects = waiting(page, operation)["objects"].as_array().expect("objects");
    objects.iter().filter(|object| !object["lastFailure"].is_null()).count()
}

async fn explained(stand: &Stand, args: &[&str]) -> String {
    let mut command = Command::new(executable("mooring", "mooring").expect("mooring"));
    command
        .arg("explain")
        .args(args)
        .arg(format!("--kubeconfig={}", stand.control_plane.kubeconfig().display()));
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("run");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// `MOORING_BLESS=1` puts the picture into docs.
fn picture_file(folder: &Path) -> PathBuf {
    match std::env::var_os("MOORING_BLESS") {
        Some(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/status-page.png"),
        None => folder.join("status-page.png"),
    }
}

/// Looks at the page in a real browser.
fn look(url: &str, folder: &Path) {
    if !browser::is_here("the status page in a browser") {
        return;
    }
    let file = picture_file(folder);
    let (document, console) = browser::document(url).expect("a browser");
    assert_eq!(console, "", "the browser complains of nothing");
    for expected in [
        "Who leads",
        "too-large",
        TOO_LARGE,
        "no-secret",
        "next try in",
        "node-9",
        "provision PersistentVolumeClaim",
    ] {
        assert!(document.contains(expected), "{expected} is not in {document}");
    }
    assert!(browser::picture(url, 1200, 1000, &file).expect("a browser"));
    let picture = std::fs::read(&file).expect("a picture");
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{} bytes", picture.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_seen_in_a_browser_and_explained() {
    let stand = up("status").await;
    let key = [
        ("csi.storage.k8s.io/provisioner-secret-name", "backend"),
        ("csi.storage.k8s.io/provisioner-secret-namespace", "default"),
    ];
    stand.class("locked", "Delete", "Immediate", &key).await;
    let _process = stand.sidecar("controller", "one", &["--leader-election", "--status-page"]);
    let claims = stand.claim("data", "csi", "1Mi").await;
    wait_for("the claim to be bound", async || volumes(&claims).await.len() == 1).await;
    for volume in volumes(&claims).await {
        attach(&stand, &volume, "node-9").await;
    }
    stand.claim("too-large", "csi", "2Ti").await;
    stand.claim("no-secret", "locked", "1Mi").await;
    let all_failed = async || {
        let page = page(&stand).await;
        (failed(&page, "provision"), failed(&page, "attach")) == (2, 1)
    };
    wait_for("the failures to be shown", all_failed).await;
    let programs = page(&stand).await;
    assert_eq!((&programs["program"], &programs["driver"]), (&json!("csi-sidecars"), &json!(NAME)));
    assert_eq!(programs["sidecars"], json!(["csi-provisioner", "csi-attacher", "csi-resizer"]));
    assert!(
        programs["leases"]
            .as_array()
            .is_some_and(|leases| leases.len() == 3 && leases.iter().all(|lease| lease["leads"] == true))
    );
    assert_eq!(waiting(&programs, "attach")["nodes"][0]["node"], "node-9");

    let (namespace, url) = (stand.namespace.clone(), stand.url("one"));
    let said = explained(&stand, &["pvc", "too-large", "-n", &namespace, "--status", &url]).await;
    assert!(said.contains("csi-sidecars: provision: it ") && said.contains("failures in a row"), "{said}");
    assert!(
        said.contains("  next try:  ") && said.contains("Provisioning failed: ") && said.contains(TOO_LARGE),
        "{said}"
    );
    let gone =
        explained(&stand, &["pvc", "too-large", "-n", &namespace, "--status", "http://127.0.0.1:1"]).await;
    assert!(
        gone.contains("not read: status page http://127.0.0.1:1: ") && gone.contains(TOO_LARGE),
        "{gone}"
    );

    look(&url, stand.control_plane.folder());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_for_tokens_that_may_get_them() {
    let [reviewer, scraper, looker] = <[Value; 3]>::try_from(
        documents(include_str!("../../../../manifests/rbac/metrics.yaml")).expect("YAML"),
    )
    .expect("three roles");
    let rbac =
        [include_str!("../../../../manifests/rbac/provisioner.yaml"), &reviewer.to_string()].join("\n---\n");
    let stand = Stand::with("tokens", &[], "csi-provisioner", &rbac).await;
    let (control_plane, namespace) = (&stand.control_plane, stand.namespace.as_str());
    let account = async |name: &str, role: &str| {
        let kubeconfig = control_plane.service_account(namespace, name, role).await.expect("an account");
        token_of(&kubeconfig).expect("a token")
    };
    // As OpenShift's system:openshift:discovery gives every account.
    let discovery = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "discovery"},
        "rules": [{"nonResourceURLs": ["/", "/api", "/version"], "verbs": ["get"]}],
    });
    let (prometheus, person, stranger) = (
        account("prometheus", &scraper.to_string()).await,
        account("person", &looker.to_string()).await,
        account("stranger", &discovery.to_string()).await,
    );
    let folder = control_plane.folder().to_owned();
    let first = write_certificate(&folder);
    let flag = |name: &str, file: &str| format!("--{name}={}", folder.join(file).display());
    let files = [flag("tls-cert-file", "tls.crt"), flag("tls-private-key-file", "tls.key")];
    let flags = ["--leader-election", "--status-page", "--http-require-token", &files[0], &files[1]];
    let mut process = stand.sidecar("csi-provisioner", "one", &flags);
    let port = stand.port("one");
    let ask = async |path: &str, token: &str, trusted: &_| answer(port, path, token, trusted).await;
    wait_for("the port", async || ask("/healthz/leader-election", "", &first).await.is_ok()).await;
    for (path, token, status, text) in [
        ("/healthz/leader-election", "", 200, "ok"),
        ("/metrics", "", 401, "Authorization: Bearer TOKEN"),
        ("/metrics", "made-up", 401, "Authorization: Bearer TOKEN"),
        ("/metrics", &stranger, 403, ":stranger\" needs a ClusterRole"),
        ("/metrics", &prometheus, 200, "process_start_time_seconds"),
        ("/metrics", &person, 403, "nonResourceURLs [\"/metrics\"]"),
        ("/", &stranger, 302, "location: status"),
        ("/status", &stranger, 403, "nonResourceURLs [\"/status\"]"),
        ("/status", &prometheus, 403, ":prometheus\" needs a ClusterRole"),
        ("/status?format=json", &person, 200, "\"program\":\"csi-provisioner\""),
        ("/other", &prometheus, 404, ""),
    ] {
        let said = ask(path, token, &first).await.expect("an answer");
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {token}: {said}");
        assert!(said.contains(text), "{path}: {said}");
        assert!(token.is_empty() || !said.contains(token), "no token comes back");
    }
    let second = write_certificate(&folder);
    wait_for("the new certificate", async || ask("/metrics", &prometheus, &second).await.is_ok()).await;
    assert!(ask("/metrics", &prometheus, &first).await.is_err());
    assert!(process.exited().is_none());
    let log = process.last_lines(10_000);
    assert!(log.contains("Using a new certificate"), "{log}");
    for secret in [&prometheus, &person, &stranger] {
        assert!(!log.contains(secret.as_str()), "a token is in the log");
    }
    process.terminate(Duration::from_secs(60)).await.expect("it ends");
}
