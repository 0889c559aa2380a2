//! The work of one sidecar, and the permissions it needs.

use std::future::Future;

use base::leadership::Leadership;
use futures::FutureExt;
use futures::future::BoxFuture;
use kubernetes::permission::Need;

use crate::host::Seat;

/// The work of one sidecar.
pub struct Duty {
    pub(crate) leadership: Leadership,
    pub(crate) needs: Vec<Need>,
    pub(crate) work: BoxFuture<'static, ()>,
}

impl Duty {
    /// `work` begins once the seat leads and the caches are complete. It ends when the seat's `stop` is cancelled and
    /// what is in flight has ended. `needs` are the permissions without which it cannot work: each one that the
    /// service account lacks is logged at start.
    pub fn new(seat: &Seat, needs: Vec<Need>, work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { leadership: seat.leadership.clone(), needs, work: work.boxed() }
    }
}
