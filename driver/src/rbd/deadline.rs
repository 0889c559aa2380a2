//! Calls that wait for a device, which may never answer: each runs on a thread of its own, and is answered in time.
//!
//! What waits for a device in the kernel can be neither interrupted nor killed, be it a program like mkfs or this process. So a call
//! that takes too long is answered, and goes on: with its locks, so that nobody begins the same beside it, and without being killed,
//! so that a slow mkfs ends some day. Callers repeat the call; they get ABORTED until it has ended, and then find it done, or undone.
//!
//! Differs: ceph-csi's call takes as long as the device; its caller gives up without an answer.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::refusal::Refusal;

/// Does what may take long; answers after `limit` in any case.
///
/// # Errors
/// UNAVAILABLE when it takes longer; as `work`.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    what: &'static str,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let (sender, receiver) = mpsc::channel();
    let begun = Instant::now();
    let run = move || {
        let outcome = work();
        if let Err(late) = sender.send(outcome) {
            let seconds = begun.elapsed().as_secs();
            match late.0 {
                Ok(_) => base::info!("A call ended after its answer"; "call" => what, "seconds" => seconds),
                Err(refusal) => {
                    base::error!(refusal, "A call failed after its answer"; "call" => what, "seconds" => seconds);
                }
            }
        }
    };
    std::thread::Builder::new()
        .name(what.to_owned())
        .spawn(run)
        .map_err(Refusal::system(format!("cannot begin to {what}")))?;
    match receiver.recv_timeout(limit) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => {
            let what = format!("to {what} takes longer than {} s, and goes on", limit.as_secs());
            Err(Refusal::Outage { what, source: Errno::TIMEDOUT.into() })
        }
        // It panicked, and may have done anything.
        Err(RecvTimeoutError::Disconnected) => {
            let source = std::io::Error::other("the driver failed half-way");
            Err(Refusal::Unfinished { what: format!("cannot {what}"), source })
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::lock::{Key, Locks};

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_call_in_time_gives_its_outcome() {
        assert_eq!(within(LONG, "stage", || Ok(1)).unwrap(), 1);
        let refusal = within::<()>(LONG, "stage", || Err(Refusal::Missing("volume_id"))).unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument);
    }

    #[test]
    fn a_late_call_is_answered_and_keeps_its_lock_until_it_ends() {
        let locks = Locks::default();
        let (go, gone) = (mpsc::channel::<()>(), mpsc::channel());
        let guard = locks.alone(Key::Volume("v".to_owned())).unwrap();
        let (may_go, has_gone) = (go.1, gone.0);
        let work = move || {
            let _has_gone: mpsc::Sender<()> = has_gone;
            let _guard = guard;
            let _ = may_go.recv();
            Ok(())
        };
        let refusal = within(Duration::ZERO, "stage", work).unwrap_err();
        assert_eq!(refusal.code(), Code::Unavailable, "{refusal}");
        assert_eq!(locks.alone(Key::Volume("v".to_owned())).unwrap_err().code(), Code::Aborted);
        drop(go.0);
        // Ends when the work has let go of everything.
        assert!(gone.1.recv().is_err());
        locks.alone(Key::Volume("v".to_owned())).unwrap();
    }

    #[test]
    fn a_call_that_panics_is_not_taken_for_undone() {
        let refusal = within::<()>(LONG, "stage", || panic!("as a bug would")).unwrap_err();
        assert_eq!(refusal.code(), Code::Unavailable, "{refusal}");
    }
}
