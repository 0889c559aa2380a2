//! Decides what `/healthz` of the registrar answers.

use std::time::Duration;

use base::http::Reply;
use http::StatusCode;

/// How long the kubelet may take to register the driver, and the driver to say its first name. The kubelet waits 2 min for
/// NodeGetInfo and backs off to 122 s. A failing `/healthz` makes it restart us, and our end unregisters the driver.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// How long the driver may be silent once it has said its name. A restart of it takes less.
const SILENCE: Duration = Duration::from_secs(60);

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

/// What the kubelet made of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kubelet {
    /// It has registered the driver, or has refused it.
    Decided,
    /// It has not asked since we made the socket, this long ago.
    Away(Duration),
    /// It asked for the driver this long ago, and has not said whether it uses it.
    Asked(Duration),
}

/// Whether the driver's silence is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// No: livenessprobe answers for the driver's life.
    Passes,
    /// Yes, after [`SILENCE`].
    Fails,
}

/// What is known when the kubelet asks.
#[derive(Debug, Clone)]
pub(crate) struct View<'a> {
    /// What is where the socket should be.
    pub(crate) socket: SocketState,
    /// What the driver says now.
    pub(crate) driver: Answer,
    /// Whether its silence is a failure.
    pub(crate) silence: Silence,
    /// The name that the kubelet was told.
    pub(crate) expected: &'a str,
    /// What the kubelet made of the driver.
    pub(crate) kubelet: Kubelet,
}

/// What `/healthz` answers. `/healthz/registration` of `mooring node` says the same, and fails for a silent driver too.
///
/// `Differs:` upstream asks its own socket for the name, and says nothing of the driver and of the kubelet. Ours fails if
/// the driver says another name than the kubelet was told, or if the kubelet has not registered it for 5 min. As upstream, it does
/// not fail for a driver that is silent.
pub(crate) fn judge(view: &View<'_>) -> Reply {
    match &view.socket {
        SocketState::Missing => {
            return Reply::text(StatusCode::NOT_FOUND, "registration socket does not exist");
        }
        SocketState::Wrong(what) => return failed(what.clone()),
        SocketState::Ours => {}
    }
    match (&view.driver, view.silence) {
        (Answer::Silent(silent, cause), Silence::Fails) if *silent > SILENCE => {
            return failed(format!(
                "the CSI driver has not said its name for {} s: {cause}",
                silent.as_secs()
            ));
        }
        (Answer::Name(name), _) if name != view.expected => {
            return failed(format!("invalid driver name {name}"));
        }
        (Answer::Name(_) | Answer::Silent(..), _) => {}
    }
    match view.kubelet {
        Kubelet::Away(waited) if waited > PATIENCE => failed(format!(
            "the kubelet has not asked for the driver for {} s: --plugin-registration-path must be its plugins_registry folder",
            waited.as_secs()
        )),
        Kubelet::Asked(waited) if waited > PATIENCE => failed(format!(
            "the kubelet asked for the driver {} s ago and has not said whether it uses it: look at NodeGetInfo in the driver's log",
            waited.as_secs()
        )),
        Kubelet::Decided | Kubelet::Away(_) | Kubelet::Asked(_) => Reply::ok(),
    }
}

/// What `/healthz/registration` answers before the driver has said its first name, this long after our start.
pub(crate) fn judge_nameless(waited: Duration) -> Reply {
    if waited > PATIENCE {
        return failed(format!(
            "the CSI driver has not said its name yet, {} s after our start",
            waited.as_secs()
        ));
    }
    Reply::ok()
}

fn failed(text: String) -> Reply {
    Reply::text(StatusCode::INTERNAL_SERVER_ERROR, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(301);

    fn silent(seconds: u64) -> Answer {
        Answer::Silent(Duration::from_secs(seconds), "no connection".to_owned())
    }

    fn well() -> View<'static> {
        View {
            socket: SocketState::Ours,
            driver: Answer::Name("d".to_owned()),
            silence: Silence::Fails,
            expected: "d",
            kubelet: Kubelet::Decided,
        }
    }

    #[test]
    fn health_is_socket_driver_and_kubelet_in_this_order() {
        for (view, status, text) in [
            (well(), 200, "ok"),
            (View { kubelet: Kubelet::Away(Duration::from_secs(300)), ..well() }, 200, "ok"),
            (View { kubelet: Kubelet::Away(LONG), ..well() }, 500, "plugins_registry"),
            (View { driver: silent(60), ..well() }, 200, "ok"),
            (View { driver: silent(61), kubelet: Kubelet::Away(LONG), ..well() }, 500, "no connection"),
            (View { driver: Answer::Name("e".to_owned()), ..well() }, 500, "invalid driver name e"),
            (
                View { socket: SocketState::Missing, driver: silent(61), ..well() },
                404,
                "registration socket does not exist",
            ),
            (View { socket: SocketState::Wrong("is no socket".to_owned()), ..well() }, 500, "is no socket"),
        ] {
            let reply = judge(&view);
            assert_eq!(reply.status.as_u16(), status, "{view:?}");
            assert!(reply.body.contains(text), "{view:?}: {}", reply.body);
        }
    }

    #[test]
    fn silent_driver_is_no_failure_of_the_drop_in() {
        let drop_in = View { silence: Silence::Passes, ..well() };
        assert_eq!(judge(&View { driver: silent(3600), ..drop_in.clone() }).status.as_u16(), 200);
        let other = judge(&View { driver: Answer::Name("e".to_owned()), ..drop_in });
        assert_eq!(other.status.as_u16(), 500, "another driver must be registered anew");
    }

    #[test]
    fn kubelet_that_asked_is_waited_for_and_points_to_the_driver() {
        let asked =
            |seconds| judge(&View { kubelet: Kubelet::Asked(Duration::from_secs(seconds)), ..well() });
        assert_eq!(asked(300).status.as_u16(), 200);
        let late = asked(301);
        assert_eq!(late.status.as_u16(), 500);
        assert!(late.body.contains("asked for the driver 301 s ago"), "{}", late.body);
        assert!(
            late.body.contains("NodeGetInfo") && !late.body.contains("plugins_registry"),
            "{}",
            late.body
        );
    }

    #[test]
    fn first_name_may_take_as_long_as_registration() {
        assert_eq!(judge_nameless(PATIENCE).status.as_u16(), 200);
        let late = judge_nameless(LONG);
        assert!(late.status.as_u16() == 500 && late.body.contains("301 s"), "{}", late.body);
    }
}
