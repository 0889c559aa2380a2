//! `--exit-on-connection-loss`: notices that the connection to the driver is lost, and writes the termination log.

use csi::LinkState;

/// Where Kubernetes reads why a container ended.
const TERMINATION_LOG: &str = "/dev/termination-log";
const CONNECTION_LOST: &str = "Lost connection to CSI driver, exiting";

/// Resolves when the connection to the driver is lost. The process has had a connection since it started.
pub(crate) async fn connection_lost(driver: &csi::Client) {
    let mut state = driver.connection().state();
    if state.wait_for(|state| *state == LinkState::Down).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Writes the reason into the termination log, and returns it.
pub(crate) fn leave_reason() -> String {
    if let Err(error) = std::fs::write(TERMINATION_LOG, CONNECTION_LOST) {
        base::error!(error, "Could not write the termination log"; "file" => TERMINATION_LOG);
    }
    CONNECTION_LOST.to_owned()
}
