//! The open connections, and which of them goes when there are too many.
//!
//! A new connection always gets in: the kubelet's probe must not wait until strangers hang up. For it, a connection goes of the
//! peer that has most: however many one peer opens, it closes none of another's that has fewer. Of that peer's, the one goes on
//! which nothing was asked for longest. One with a request in work goes only if all have one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Most connections open at once.
pub(super) const MOST: usize = 64;

/// The open connections.
#[derive(Default)]
pub(super) struct Connections(Mutex<Open>);

#[derive(Default)]
struct Open {
    next: u64,
    all: HashMap<u64, Connection>,
}

struct Connection {
    peer: IpAddr,
    is_busy: bool,
    /// When it was opened, or a request on it began or ended.
    since: Instant,
    task: AbortHandle,
}

impl Connections {
    /// Converses with this peer in the background, and makes room for it.
    pub(super) fn begin<F>(self: &Arc<Self>, peer: IpAddr, converse: impl FnOnce(Place) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut open = self.open();
        let ended = (open.all.len() >= MOST).then(|| open.take_one_for(peer)).flatten();
        let number = open.next;
        open.next += 1;
        let task = tokio::spawn(converse(Place { connections: self.clone(), number })).abort_handle();
        open.all.insert(number, Connection { peer, is_busy: false, since: Instant::now(), task });
        drop(open);
        if let Some(ended) = ended {
            crate::v!(4, "Closing an HTTP connection, there are too many"; "most" => MOST);
            ended.task.abort();
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// The connection that goes for a new one of this peer.
    fn take_one_for(&mut self, newcomer: IpAddr) -> Option<Connection> {
        let mut shares = HashMap::from([(newcomer, 1)]);
        for connection in self.all.values() {
            *shares.entry(connection.peer).or_insert(0) += 1;
        }
        let share = |peer: &IpAddr| shares.get(peer).copied().unwrap_or(0);
        let key = |(number, connection): &(&u64, &Connection)| {
            (Reverse(share(&connection.peer)), connection.is_busy, connection.since, **number)
        };
        let number = self.all.iter().min_by_key(key).map(|(number, _)| *number)?;
        self.all.remove(&number)
    }
}

/// The place of one connection; dropping it frees the place.
pub(super) struct Place {
    connections: Arc<Connections>,
    number: u64,
}

impl Place {
    /// A request begins or ends.
    pub(super) fn set_busy(&self, is_busy: bool) {
        if let Some(connection) = self.connections.open().all.get_mut(&self.number) {
            (connection.is_busy, connection.since) = (is_busy, Instant::now());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().all.remove(&self.number);
    }
}
