//! When requests are sent without being written down: the API server refuses the Leases, or fails for long.

use std::time::Duration;

use kubernetes::api;
use kubernetes::permission::Need;
use tokio::time::Instant;

use super::log::Intents;

/// What intents need, in the namespace of leader election.
const NEED: Need = Need {
    group: "coordination.k8s.io",
    resource: "leases",
    verbs: &["get", "list", "create", "update", "delete"],
    namespaced: true,
};

/// How long no intents are written after the API server has refused one.
const REFUSED: Duration = Duration::from_secs(60);
/// So long every write may fail before we go on without. While the API server is away, no claim is seen either.
const FAILING: Duration = Duration::from_secs(300);

/// So many writes must have failed then: one now and one an hour ago say little.
const FAILURES: u32 = 5;

/// What an answer to a write says about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The same write will be refused: a role, a proxy, an admission policy, a limit of sizes.
    Refused,
    /// The server fails, or a webhook that it asks.
    Fails,
    /// The next attempt may go well.
    Passes,
}

/// What an operator can do about this code.
fn remedy(code: u16) -> String {
    match code {
        // An admission policy or webhook answers so too; the error names it.
        403 => format!(
            "add to the role of the service account in this namespace: {{apiGroups: [\"{}\"], resources: [\"{}\"], verbs: {:?}}}; or let the admission policy that err names pass the Leases mooring-intents-*",
            NEED.group, NEED.resource, NEED.verbs
        ),
        // The usual answer of a ValidatingAdmissionPolicy.
        422 => "let the admission policy that err names pass the Leases mooring-intents-*, which may have 200,000 bytes".to_owned(),
        413 => "let pass Leases of 200,000 bytes: a proxy, which err may name, refuses them".to_owned(),
        500.. => "mend what err names: an admission webhook that fails, or the API server".to_owned(),
        _ => "let csi-provisioner get, create and update the Leases mooring-intents-*: see what err says"
            .to_owned(),
    }
}

/// What the answer with this code says.
fn answer(code: u16) -> Answer {
    match code {
        // We are to log in anew, be quicker, read first, or come later.
        401 | 408 | 409 | 410 | 429 => Answer::Passes,
        400..500 => Answer::Refused,
        500..600 => Answer::Fails,
        _ => Answer::Passes,
    }
}

impl Intents {
    /// An empty Lease could not be deleted. Only a refusal says that none ever can; that it is not there (404) is no refusal.
    pub(super) fn not_deleted(&self, lease: &str, error: &api::Error) {
        base::v!(2, "Cannot delete an empty Lease of intents"; "lease" => lease, "err" => api::text(error));
        let code = api::status(error).map_or(0, |status| status.code);
        self.state().not_deleted(code != 404 && answer(code) == Answer::Refused);
    }

    /// Whether the error means that intents cannot be kept here. Then none are written down for a while.
    pub(super) fn gives_up(&self, error: &api::Error) -> bool {
        let Some(status) = api::status(error) else { return false };
        let name = self.place.as_ref().map(|place| place.name.as_str()).unwrap_or_default();
        // One of our own Leases that somebody has deleted is made anew.
        let deleted = status.code == 404
            && status.details.as_ref().is_some_and(|details| details.name.starts_with(name));
        if deleted || answer(status.code) != Answer::Refused {
            return false;
        }
        self.go_without(error);
        true
    }

    /// The same for a write. A server that has failed at every write for long counts as one that refuses.
    pub(super) fn gives_up_writing(&self, error: &api::Error) -> bool {
        if self.gives_up(error) {
            return true;
        }
        let code = api::status(error).map_or(0, |status| status.code);
        if answer(code) != Answer::Fails {
            return false;
        }
        let (since, times) = {
            let mut state = self.state();
            let (since, times) = state.failing.unwrap_or_else(|| (Instant::now(), 0));
            *state.failing.insert((since, times.saturating_add(1)))
        };
        if since.elapsed() < FAILING || times < FAILURES {
            return false;
        }
        self.go_without(error);
        true
    }

    fn go_without(&self, error: &api::Error) {
        let mut state = self.state();
        let until = Some(Instant::now() + REFUSED);
        (state.off_until, state.read_at) = (until, until);
        if !std::mem::replace(&mut state.told, true) {
            let code = api::status(error).map_or(0, |status| status.code);
            base::warn!("Requests are not written down before they are sent: if a claim is deleted while its volume is being made and this process dies, the volume leaks. To mend it: see remedy. To accept such leaks and silence this line: --volume-intents=false";
                "remedy" => remedy(code), "namespace" => self.place.as_ref().map(|place| place.namespace.clone()).unwrap_or_default(), "err" => api::text(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedy_names_what_may_have_refused() {
        for (code, part) in [
            (403, "\"delete\"]}"),
            (403, "admission policy"),
            (413, "200,000 bytes"),
            (422, "let the admission policy that err names pass the Leases mooring-intents-*"),
        ] {
            assert!(remedy(code).contains(part), "{code}: {}", remedy(code));
        }
        assert!(!remedy(403).contains("watch"), "that is for leader election");
    }

    #[test]
    fn refusals_are_told_from_what_passes() {
        for code in [400, 403, 404, 405, 413, 415, 422, 499] {
            assert_eq!(answer(code), Answer::Refused, "{code}");
        }
        for code in [0, 401, 408, 409, 410, 429, 600] {
            assert_eq!(answer(code), Answer::Passes, "{code}");
        }
        for code in [500, 503, 504] {
            assert_eq!(answer(code), Answer::Fails, "{code}");
        }
    }
}
