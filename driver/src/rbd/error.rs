//! What Ceph's errors mean to a caller.

use std::io;

use rustix::io::Errno;
use tonic::Code;

use crate::rbd::ceph::is;
use crate::refusal::Refusal;

/// What [`Result::map_err`] wants: Ceph refused `what`.
///
/// No answer, or a client that the cluster shut out, is UNAVAILABLE: the caller tries again and neither takes the request
/// for failed nor for done. A wrong user or key is UNAUTHENTICATED. Somebody else's use of an image is
/// FAILED_PRECONDITION. The rest as other backends'.
pub(crate) fn ceph(what: impl Into<String>) -> impl FnOnce(io::Error) -> Refusal {
    let what = what.into();
    move |source| {
        if is_outage(&source) {
            Refusal::Outage { what, source }
        } else if is(&source, Errno::ACCESS) || is(&source, Errno::PERM) {
            Refusal::Denied { what, source }
        } else if is(&source, Errno::BUSY) {
            Refusal::WrongState(format!("{what}: it is in use"))
        } else if is(&source, Errno::CANCELED) {
            Refusal::Held(format!("{what}: somebody else is doing so"))
        } else {
            Refusal::System { what, source }
        }
    }
}

/// As [`ceph`], for connecting. A key that cannot be read as one is as wrong as another's.
pub(crate) fn connecting(what: impl Into<String>) -> impl FnOnce(io::Error) -> Refusal {
    let what = what.into();
    move |source| {
        if is(&source, Errno::INVAL) || is(&source, Errno::NOENT) {
            Refusal::Denied { what, source }
        } else {
            ceph(what)(source)
        }
    }
}

/// What a call answers that finds what an earlier one of its name began, and can neither finish nor undo it. Callers forget a name
/// after a final code, and then nobody comes back for what is there. That the name is another's, or that the journal is damaged, is
/// final: nothing of it is the caller's.
pub(crate) fn unfinished(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Clash(_) => refusal,
        Refusal::System { ref source, .. } if source.kind() == io::ErrorKind::InvalidData => refusal,
        _ if [Code::Aborted, Code::Unavailable].contains(&refusal.code()) => refusal,
        _ => Refusal::Unfinished {
            what: "what an earlier call began can be neither finished nor undone".to_owned(),
            source: io::Error::other(refusal.to_string()),
        },
    }
}

/// What a call answers that failed and undoes what it began. After an outage nothing more is tried: the next call does it.
pub(crate) fn undone(refusal: Refusal, undo: impl FnOnce() -> Result<(), Refusal>) -> Refusal {
    if matches!(refusal, Refusal::Outage { .. }) {
        return refusal;
    }
    once_undone(refusal, undo())
}

/// What a call answers that failed, once it was undone or not.
pub(crate) fn once_undone(refusal: Refusal, undone: Result<(), Refusal>) -> Refusal {
    match undone {
        Ok(()) => refusal,
        Err(other) => Refusal::Unfinished {
            what: format!("{refusal}; nor can it be undone"),
            source: io::Error::other(other.to_string()),
        },
    }
}

/// Whether Ceph gave no answer, so that nobody knows what was done.
pub(crate) fn is_outage(error: &io::Error) -> bool {
    // ESHUTDOWN: the client is on the block list.
    [Errno::TIMEDOUT, Errno::SHUTDOWN, Errno::NOTCONN, Errno::CONNREFUSED]
        .iter()
        .any(|errno| is(error, *errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_finds_a_beginning_is_never_told_to_forget_it() {
        let text = || "it is in use".to_owned();
        for (refusal, code) in [
            (Refusal::WrongState(text()), Code::Unavailable),
            (ceph("cannot")(Errno::PERM.into()), Code::Unavailable),
            (ceph("cannot")(Errno::NOSPC.into()), Code::Unavailable),
            (ceph("cannot")(Errno::IO.into()), Code::Unavailable),
            (ceph("cannot")(Errno::TIMEDOUT.into()), Code::Unavailable),
            (Refusal::Held(text()), Code::Aborted),
            (Refusal::Clash(text()), Code::AlreadyExists),
            (Refusal::system(text())(io::Error::from(io::ErrorKind::InvalidData)), Code::Internal),
        ] {
            assert_eq!(unfinished(refusal).code(), code);
        }
    }

    #[test]
    fn a_failed_call_is_final_only_once_it_is_undone() {
        let denied = || Err(ceph("cannot")(Errno::PERM.into()));
        for (errno, undo, code) in [
            (Errno::PERM, Some(Ok(())), Code::Unauthenticated),
            (Errno::NOSPC, Some(Ok(())), Code::ResourceExhausted),
            (Errno::NOSPC, Some(denied()), Code::Unavailable),
            // Nothing more is tried.
            (Errno::TIMEDOUT, None, Code::Unavailable),
        ] {
            let found = undone(ceph("cannot")(errno.into()), || undo.unwrap());
            assert_eq!(found.code(), code, "{errno}: {found}");
        }
    }

    #[test]
    fn each_error_of_ceph_has_its_code() {
        for (errno, code) in [
            (Errno::TIMEDOUT, Code::Unavailable),
            (Errno::SHUTDOWN, Code::Unavailable),
            (Errno::ACCESS, Code::Unauthenticated),
            (Errno::PERM, Code::Unauthenticated),
            (Errno::BUSY, Code::FailedPrecondition),
            (Errno::CANCELED, Code::Aborted),
            (Errno::NOSPC, Code::ResourceExhausted),
            (Errno::DQUOT, Code::ResourceExhausted),
            (Errno::IO, Code::Internal),
        ] {
            let refusal = ceph("cannot do it")(io::Error::from(errno));
            assert_eq!(refusal.code(), code, "{errno}");
            assert!(refusal.to_string().contains("cannot do it"), "{refusal}");
        }
    }
}
