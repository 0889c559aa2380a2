//! Decides what `/healthz` of the registrar answers.

use std::time::Duration;

use base::http::Reply;
use http::StatusCode;

/// How long the kubelet may take to register the driver. It looks through its folder at least every few seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What is at the place of the registration socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The socket.
    Socket,
    /// Nothing.
    Empty,
    /// Something else, or nobody can tell.
    Wrong(String),
}

/// What is known when the kubelet asks.
#[derive(Debug, Clone)]
pub(crate) struct View<'a> {
    /// What is at the socket's place.
    pub(crate) place: Place,
    /// The name that the driver says now, or why it says none.
    pub(crate) name: Result<String, String>,
    /// The name that the kubelet was told.
    pub(crate) expected: &'a str,
    /// How long the kubelet has been silent since the socket was made; none once it has registered the driver.
    pub(crate) pending: Option<Duration>,
}

/// What `/healthz` answers.
///
/// `Differs:` upstream asks its own socket for the name, and says nothing of the driver and of the kubelet.
pub(crate) fn judge(view: &View<'_>) -> Reply {
    let failed = |text: String| Reply::text(StatusCode::INTERNAL_SERVER_ERROR, text);
    match &view.place {
        Place::Empty => {
            return Reply::text(StatusCode::NOT_FOUND, "registration socket does not exist");
        }
        Place::Wrong(what) => return failed(what.clone()),
        Place::Socket => {}
    }
    match &view.name {
        Err(cause) => return failed(format!("the CSI driver does not say its name: {cause}")),
        Ok(name) if name != view.expected => return failed(format!("invalid driver name {name}")),
        Ok(_) => {}
    }
    match view.pending {
        Some(pending) if pending > PATIENCE => failed(format!(
            "the kubelet has not registered the driver for {} s: --plugin-registration-path must be its plugins_registry folder",
            pending.as_secs()
        )),
        Some(_) | None => Reply::ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_socket_driver_and_kubelet_in_this_order() {
        let well = View { place: Place::Socket, name: Ok("d".to_owned()), expected: "d", pending: None };
        let silent = Duration::from_secs(61);
        let gone = Err("rpc error: code = Unavailable desc = gone".to_owned());
        for (view, status, text) in [
            (well.clone(), 200, "ok"),
            (View { pending: Some(PATIENCE), ..well.clone() }, 200, "ok"),
            (View { pending: Some(silent), ..well.clone() }, 500, "plugins_registry"),
            (View { name: gone.clone(), ..well.clone() }, 500, "code = Unavailable"),
            (View { name: Ok("e".to_owned()), ..well.clone() }, 500, "invalid driver name e"),
            (
                View { place: Place::Empty, name: gone, ..well.clone() },
                404,
                "registration socket does not exist",
            ),
            (View { place: Place::Wrong("is no socket".to_owned()), ..well }, 500, "is no socket"),
        ] {
            let reply = judge(&view);
            assert_eq!(reply.status.as_u16(), status, "{view:?}");
            assert!(reply.body.contains(text), "{view:?}: {}", reply.body);
        }
    }
}
