//! What Ceph's errors mean to a caller.

use std::io;

use rustix::io::Errno;

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

/// Whether Ceph gave no answer, so that nobody knows what was done.
pub(crate) fn is_outage(error: &io::Error) -> bool {
    // ESHUTDOWN: the client is on the block list.
    [Errno::TIMEDOUT, Errno::SHUTDOWN, Errno::NOTCONN, Errno::CONNREFUSED]
        .iter()
        .any(|errno| is(error, *errno))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

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
