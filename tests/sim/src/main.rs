//! `mooring-sim FOLDER`: the in-memory API server on a free port of 127.0.0.1, with the controllers that bind claims and
//! attach volumes, until it is killed. How to reach it is in `FOLDER/kubeconfig`.
//!
//! `cargo xtask up` shows our sidecars on it while a real control plane is still being built.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use sim::{ApiServer, attach_detach, binder, port};
use tokio::net::TcpListener;

/// How far the controllers are behind every change.
const DELAY: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: mooring-sim FOLDER");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(serve(Path::new(&folder)))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mooring-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(folder: &Path) -> std::io::Result<()> {
    let api = ApiServer::new();
    let _binder = binder::start(&api, DELAY);
    let _attach_detach = attach_detach::start(&api, DELAY);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "simulation", "cluster": { "server": format!("http://{}", listener.local_addr()?) } }],
        "users": [{ "name": "admin", "user": { "token": "admin" } }],
        "contexts": [{ "name": "simulation", "context": { "cluster": "simulation", "user": "admin" } }],
        "current-context": "simulation",
    });
    // JSON is YAML. Only a whole file ever has the final name.
    let partial = folder.join("kubeconfig.partial");
    std::fs::write(&partial, kubeconfig.to_string())?;
    std::fs::rename(&partial, folder.join("kubeconfig"))?;
    port::serve(api, listener).await
}
