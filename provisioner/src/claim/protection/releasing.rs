//! A source that is just being let go of: no attempt to use it begins meanwhile. What such an attempt would read of our
//! finalizer may be wrong a moment later.

use kubernetes::object::Claim;

use super::super::reconcile::Claims;
use super::super::request::Asked;

/// While this lives, the source is being let go of.
pub(super) struct Releasing<'a> {
    claims: &'a Claims,
    source: &'a Asked,
}

impl Drop for Releasing<'_> {
    fn drop(&mut self) {
        self.claims.memory().end_release(self.source);
        self.claims.released.notify_waiters();
    }
}

impl Claims {
    /// Our finalizer is about to be taken off. `None`: the source is in use.
    pub(super) fn begin_release<'a>(&'a self, source: &'a Asked) -> Option<Releasing<'a>> {
        let begun = self.memory().begin_release(source);
        begun.then_some(Releasing { claims: self, source })
    }

    /// From now on until [`Claims::free`] the claim's source is not let go of.
    pub(in super::super) async fn begin_use(&self, claim: &Claim, source: &Asked) {
        loop {
            let released = self.released.clone().notified_owned();
            if self.memory().begin_use(&claim.meta.uid, source) {
                return;
            }
            released.await;
        }
    }
}
