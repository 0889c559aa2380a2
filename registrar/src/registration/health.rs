//! Decides what `/healthz` of the registrar answers.

use std::time::Duration;

use base::http::Reply;
use http::StatusCode;

/// How long the kubelet may take to register the driver, and how long the driver may be silent. A failing `/healthz` makes
/// the kubelet restart us, and our end unregisters the driver. A restart of the driver must not lead to that.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What is where the registration socket should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SocketState {
    /// Our socket.
    Ours,
    /// Nothing.
    Missing,
    /// Something else, or an error of the operating system. The text says which.
    Wrong(String),
}

/// What the driver says when it is asked for its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This name.
    Name(String),
    /// None, for this long and for this reason.
    Silent(Duration, String),
}

/// What is known when the kubelet asks.
#[derive(Debug, Clone)]
pub(crate) struct View<'a> {
    /// What is where the socket should be.
    pub(crate) socket: SocketState,
    /// What the driver says now.
    pub(crate) driver: Answer,
    /// The name that the kubelet was told.
    pub(crate) expected: &'a str,
    /// Time since we made the socket. `None` after registration.
    pub(crate) unregistered: Option<Duration>,
}

/// What `/healthz` answers.
///
/// `Differs:` upstream asks its own socket for the name, and says nothing of the driver and of the kubelet.
pub(crate) fn judge(view: &View<'_>) -> Reply {
    let failed = |text: String| Reply::text(StatusCode::INTERNAL_SERVER_ERROR, text);
    match &view.socket {
        SocketState::Missing => {
            return Reply::text(StatusCode::NOT_FOUND, "registration socket does not exist");
        }
        SocketState::Wrong(what) => return failed(what.clone()),
        SocketState::Ours => {}
    }
    match &view.driver {
        Answer::Silent(silent, cause) if *silent > PATIENCE => {
            return failed(format!(
                "the CSI driver has not said its name for {} s: {cause}",
                silent.as_secs()
            ));
        }
        Answer::Name(name) if name != view.expected => return failed(format!("invalid driver name {name}")),
        Answer::Name(_) | Answer::Silent(..) => {}
    }
    match view.unregistered {
        Some(waited) if waited > PATIENCE => failed(format!(
            "the kubelet has not registered the driver for {} s: --plugin-registration-path must be its plugins_registry folder",
            waited.as_secs()
        )),
        Some(_) | None => Reply::ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_socket_driver_and_kubelet_in_this_order() {
        let name = |name: &str| Answer::Name(name.to_owned());
        let silent = |seconds| Answer::Silent(Duration::from_secs(seconds), "no connection".to_owned());
        let well = View { socket: SocketState::Ours, driver: name("d"), expected: "d", unregistered: None };
        let long = Some(Duration::from_secs(61));
        for (view, status, text) in [
            (well.clone(), 200, "ok"),
            (View { unregistered: Some(PATIENCE), ..well.clone() }, 200, "ok"),
            (View { unregistered: long, ..well.clone() }, 500, "plugins_registry"),
            (View { driver: silent(60), ..well.clone() }, 200, "ok"),
            (View { driver: silent(61), ..well.clone() }, 500, "no connection"),
            (View { driver: name("e"), ..well.clone() }, 500, "invalid driver name e"),
            (
                View { socket: SocketState::Missing, driver: silent(61), ..well.clone() },
                404,
                "registration socket does not exist",
            ),
            (View { socket: SocketState::Wrong("is no socket".to_owned()), ..well }, 500, "is no socket"),
        ] {
            let reply = judge(&view);
            assert_eq!(reply.status.as_u16(), status, "{view:?}");
            assert!(reply.body.contains(text), "{view:?}: {}", reply.body);
        }
    }
}
