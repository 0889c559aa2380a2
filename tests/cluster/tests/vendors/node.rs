//! The lines of the nodes, and those of the controllers where there is no API server.

use std::path::Path;
use std::time::Duration;

use cluster::implementation::Implementation;
use cluster::{Process, wait};

use crate::container::{Container, Place};
use crate::driver;
use crate::line::{Line, Vendor};
use crate::pod::answers_in_time;

const LIMIT: Duration = Duration::from_secs(30);

/// Starts ours as the line says, its log in `log`.
fn start(line: &Line, container: &Container, place: &Place<'_>, log: &Path, more: &[String]) -> Process {
    let mut command = container.command(line, place, Implementation::Ours);
    command.args(more);
    Process::start(&line.sidecar, command, log).expect("started")
}

#[tokio::test(flavor = "multi_thread")]
async fn vendors_controllers_take_their_flags_without_a_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let absent = folder.path().join("no-kubeconfig");
    let socket = folder.path().join("csi.sock");
    let place = Place { socket: &socket, namespace: "test", pod: "pod-0", registration: folder.path() };
    for vendor in Vendor::all() {
        for (number, line) in vendor.lines.iter().enumerate().filter(|(_, line)| line.is_controller()) {
            let _driver = driver::serve(vendor.abilities(&line.driver), &socket);
            let log = folder.path().join(format!("{}-{number}.log", vendor.name));
            let more = [format!("--kubeconfig={}", absent.display())];
            let mut process = start(line, &Container::of(line, &place), &place, &log, &more);
            let status = process.wait(LIMIT).await.and_then(|status| status.code());
            let log = process.last_lines(20);
            let title = line.title(vendor.name);
            // As Go's. 2 is a command line that cannot be read; a refused value would be told instead of the file.
            let expected = if line.sidecar == "csi-provisioner" { 255 } else { 1 };
            assert_eq!(status, Some(expected), "{title}: {log}");
            assert!(log.contains("no-kubeconfig"), "{title}: {log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vendors_node_sidecars_become_ready_as_called() {
    let folder = tempfile::tempdir().expect("a folder");
    for vendor in Vendor::all() {
        for (number, line) in vendor.lines.iter().enumerate().filter(|(_, line)| !line.is_controller()) {
            let title = line.title(vendor.name);
            let own = folder.path().join(format!("{}-{number}", vendor.name));
            std::fs::create_dir(&own).expect("a folder");
            let socket = own.join("csi.sock");
            let place = Place { socket: &socket, namespace: "test", pod: "pod-0", registration: &own };
            let _driver = driver::serve(vendor.abilities(&line.driver), &socket);
            let container = Container::of(line, &place);
            let mut process = start(line, &container, &place, &own.join("log"), &[]);
            // A path of Windows leads nowhere on Linux: there it waits for its driver, as Go's does.
            let is_reachable = line.arguments.iter().any(|argument| argument.contains("{socket}"));
            if is_reachable && line.sidecar == "csi-node-driver-registrar" {
                let name = format!("{}-reg.sock", line.driver);
                let registered = async || own.join(&name).exists();
                let registered = wait::until_true(&name, LIMIT, registered).await;
                assert!(registered.is_ok(), "{title}: {}", process.last_lines(20));
            }
            if let Some(port) = container.port.filter(|_| is_reachable) {
                let answered = answers_in_time(port, "/healthz").await;
                assert!(answered.is_ok(), "{title}: {answered:?} {}", process.last_lines(20));
            }
            assert!(process.exited().is_none(), "{title}: {}", process.last_lines(20));
            process.kill();
        }
    }
}
