//! `--exit-on-connection-loss`: notices that the connection to the driver is lost, and writes the termination log.
//! [`work`](crate::work) then ends the process with exit code 1, without releasing the lease. A loss after SIGTERM does not count: the
//! hand-over goes on.
//!
//! Without the flag, which is the default, the process waits for the driver. `Differs:` upstream always exits.

use csi::LinkState;

/// Where Kubernetes reads why a container ended.
const TERMINATION_LOG: &str = "/dev/termination-log";
const CONNECTION_LOST: &str = "Lost connection to CSI driver, exiting";

/// Returns when the first connection to the driver is lost, or at once if it is lost already.
pub(crate) async fn connection_lost(driver: &csi::Client) {
    let mut state = driver.connection().state();
    if state.wait_for(|state| is_lost(*state)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Writes the reason into the termination log, and returns the reason.
pub(crate) fn leave_reason() -> String {
    if let Err(error) = std::fs::write(TERMINATION_LOG, CONNECTION_LOST) {
        base::error!(error, "Could not write the termination log"; "file" => TERMINATION_LOG);
    }
    CONNECTION_LOST.to_owned()
}

/// True if there is no connection, or if the present one is not the first.
fn is_lost(state: LinkState) -> bool {
    state != LinkState::Up { generation: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_connection_means_that_the_first_is_lost() {
        for (state, lost) in [
            (LinkState::Up { generation: 1 }, false),
            (LinkState::Down, true),
            (LinkState::Up { generation: 2 }, true),
        ] {
            assert_eq!(is_lost(state), lost, "{state:?}");
        }
    }
}
