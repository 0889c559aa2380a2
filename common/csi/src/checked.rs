//! Which connection to the driver has been checked.

use std::sync::Arc;

use tokio::sync::watch;

use crate::connection::{Connection, LinkState};

/// Tells which connection has been checked. Clones share it.
#[derive(Debug, Clone)]
pub struct Checked(Arc<watch::Sender<u64>>);

impl Checked {
    /// At the beginning the first connection counts as checked: start-up has checked it.
    #[allow(clippy::new_without_default, reason = "it is not empty: it says that a check was done")]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(1)))
    }

    pub(crate) fn pass(&self, generation: u64) {
        self.0.send_replace(generation);
    }

    /// Resolves when the connection is up and has been checked.
    pub(crate) async fn current(&self, connection: &Connection) {
        let (mut checked, mut state) = (self.0.subscribe(), connection.state());
        loop {
            match *state.borrow_and_update() {
                LinkState::Up { generation } if generation <= *checked.borrow_and_update() => return,
                LinkState::Up { .. } | LinkState::Down => {}
            }
            tokio::select! {
                // The senders live as long as `self` and `connection`.
                _ = checked.changed() => {}
                _ = state.changed() => {}
            }
        }
    }
}
