//! The signal that ends the process.

use std::future::Future;
use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// A process that a signal ends at once exits with 128 + the signal's number, as a shell shows it.
const ENDED_BY_SIGNAL: u8 = 128;

/// Waits for SIGTERM or SIGINT. Returns 128 + the signal's number. The handlers are installed at once: the kernel drops
/// unhandled signals to PID 1.
///
/// # Errors
/// The operating system's error.
pub(crate) fn signalled() -> io::Result<impl Future<Output = u8>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let kind = tokio::select! {
            _ = term.recv() => SignalKind::terminate(),
            _ = int.recv() => SignalKind::interrupt(),
        };
        u8::try_from(kind.as_raw_value()).map_or(ENDED_BY_SIGNAL, |number| ENDED_BY_SIGNAL + number)
    })
}
