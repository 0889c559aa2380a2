//! One sidecar as a vendor starts it: its command line with our socket, ports and folders.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cluster::binaries::{Binaries, Binary, Progress, ensure};
use cluster::built::executable;
use cluster::implementation::Implementation;

use crate::driver::NODE;
use crate::line::Line;

/// Where it is started: what a pod would give it.
pub(crate) struct Place<'a> {
    pub(crate) socket: &'a Path,
    pub(crate) namespace: &'a str,
    /// The pod's name.
    pub(crate) pod: &'a str,
    /// Where the registrar's socket goes.
    pub(crate) registration: &'a Path,
}

/// A command line, and the port that it opens.
pub(crate) struct Container {
    pub(crate) arguments: Vec<String>,
    pub(crate) port: Option<u16>,
}

/// Our executable, looked for once.
fn mooring() -> &'static Path {
    static OURS: OnceLock<PathBuf> = OnceLock::new();
    OURS.get_or_init(|| executable("mooring", "mooring").expect("mooring"))
}

/// Upstream's of this name.
fn go(sidecar: &str) -> Binary {
    match sidecar {
        "csi-provisioner" => Binary::CsiProvisioner,
        "csi-attacher" => Binary::CsiAttacher,
        "csi-resizer" => Binary::CsiResizer,
        other => panic!("no Go executable of {other}"),
    }
}

fn go_sidecars() -> &'static Binaries {
    static GO: OnceLock<Binaries> = OnceLock::new();
    let all = [Binary::CsiProvisioner, Binary::CsiAttacher, Binary::CsiResizer];
    GO.get_or_init(|| ensure(&all, &Progress::auto()).expect("the Go sidecars"))
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Container {
    /// The line's own arguments. What is different on this machine, and nothing else, is replaced: the socket, each port, the
    /// namespace of the leases, and the kubelet's folder for registration sockets.
    pub(crate) fn of(line: &Line, place: &Place<'_>) -> Container {
        let mut port = None;
        let mut arguments: Vec<String> =
            line.arguments.iter().map(|argument| replaced(argument, place, &mut port)).collect();
        match line.sidecar.as_str() {
            // The default folder and port are the node's.
            "csi-node-driver-registrar" if !line.has("plugin-registration-path") => {
                arguments.push(format!("--plugin-registration-path={}", place.registration.display()));
            }
            "livenessprobe" if !line.has("http-endpoint") && !line.has("health-port") => {
                let health = free_port();
                arguments.push(format!("--health-port={health}"));
                port = Some(health);
            }
            _ => {}
        }
        Container { arguments, port }
    }

    /// How this implementation of it is started.
    pub(crate) fn command(&self, line: &Line, place: &Place<'_>, who: Implementation) -> Command {
        let mut command = match who {
            Implementation::Ours => {
                let mut command = Command::new(mooring());
                command.arg(&line.sidecar);
                command
            }
            Implementation::Go => {
                let binary = go(&line.sidecar);
                Command::new(go_sidecars().path(binary))
            }
        };
        command.args(&self.arguments).env_remove("KUBECONFIG");
        for entry in &line.environment {
            let (name, value) = entry.split_once('=').expect("a name and a value");
            let value = match value {
                "(metadata.namespace)" => place.namespace,
                "(metadata.name)" => place.pod,
                "(spec.nodeName)" => NODE,
                value => value,
            };
            command.env(name, value);
        }
        // In a pod the file of the service account says it.
        command.env("POD_NAMESPACE", place.namespace);
        command
    }
}

fn replaced(argument: &str, place: &Place<'_>, port: &mut Option<u16>) -> String {
    let argument = argument.replace("{socket}", &place.socket.display().to_string());
    let Some((flag, value)) = argument.split_once('=') else { return argument };
    match flag.trim_start_matches('-') {
        "leader-election-namespace" => format!("{flag}={}", place.namespace),
        "plugin-registration-path" => format!("{flag}={}", place.registration.display()),
        "http-endpoint" | "metrics-address" => {
            let (host, _) = value.rsplit_once(':').expect("a port");
            let free = free_port();
            *port = Some(free);
            format!("{flag}={host}:{free}")
        }
        "health-port" => {
            let free = free_port();
            *port = Some(free);
            format!("{flag}={free}")
        }
        _ => argument,
    }
}
