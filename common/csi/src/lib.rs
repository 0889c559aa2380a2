//! The Container Storage Interface for sidecars: messages, one connection, one way to call.
//!
//! - [`v1`] and [`registration`]: generated messages and server traits, from `proto`.
//! - [`v1_12`]: the three replies of CSI 1.12 that held a VolumeCondition, which 1.13 removed.
//! - [`Redact`]: a message as one line of JSON without credentials, for logs.
//! - [`Rpc`], [`StreamRpc`]: the method path and reply type that belong to a request type.
//! - [`Endpoint`], [`Connection`]: one HTTP/2 connection that reconnects, and reports each loss at once.
//! - [`Client`]: a call with its deadline, metrics and redacted logs.
//! - [`ListPublishedRequest`]: ListVolumes, decoding only the ids.
//! - [`identity`]: readiness, name, [`capability`] sets, and whether the same driver answers after a
//!   reconnect.
//! - [`code`]: which errors are final.
//! - [`otlp`]: messages and server of OpenTelemetry's protocol, by which spans are sent ([`Connection::unary`]).
//!
//! Mirrors csi-lib-utils 0.24 (docs/upstream/conventions.md); deviations carry `Differs:`.

pub mod access;
mod call;
pub mod capability;
mod checked;
pub mod code;
mod connection;
mod endpoint;
mod foreign;
pub mod identity;
mod published;
mod reconnect;
pub mod redact;
mod rpc;
mod span;
#[cfg(test)]
mod tests;
mod told_secret;
pub mod topology;
mod wire;

pub use call::{CallLog, Client};
pub use checked::Checked;
pub use code::{ErrorClass, attach_class, class, code_name, grpc_text, not_sent, was_answered, was_sent};
pub use connection::{Connection, DialError, DialOptions, LinkState};
pub use endpoint::{Endpoint, EndpointError};
pub use published::{ListPublishedRequest, ListPublishedResponse};
pub use reconnect::{DriverChanged, Identity, watch_identity};
pub use redact::{Redact, redacted, redacted_by_key, shown};
pub use rpc::{Rpc, StreamRpc};

/// A module of generated code, which our lints do not judge.
macro_rules! generated {
    ($(#[$doc:meta])* $name:ident from $package:literal) => {
        generated! {
            $(#[$doc])*
            $name {
                tonic::include_proto!($package);
                include!(concat!(env!("OUT_DIR"), "/", $package, ".mooring.rs"));
            }
        }
    };
    ($(#[$doc:meta])* $name:ident { $($code:item)* }) => {
        $(#[$doc])*
        #[allow(
            clippy::all,
            clippy::indexing_slicing,
            clippy::panic,
            clippy::too_many_lines,
            clippy::unwrap_used,
            missing_docs,
            rustdoc::all,
            unreachable_pub,
            rust_2018_idioms
        )]
        pub mod $name {
            $($code)*
        }
    };
}

generated! {
    /// Messages and servers of CSI 1.13.0 (package `csi.v1`), generated from `proto/csi.proto`.
    v1 from "csi.v1"
}
generated! {
    /// Replies as drivers of CSI 1.12 send them, with a VolumeCondition; generated from `proto/csi_1_12.proto`.
    ///
    /// The calls are those of [`v1`]. A reply of 1.13 reads the same, without the condition. A caller that has no use for
    /// conditions takes the reply of [`v1`], which drops them.
    v1_12 from "csi.v1_12"
}
generated! {
    /// Messages and server of the kubelet's plugin registration, generated from `proto/pluginregistration.proto`.
    registration from "pluginregistration"
}

generated! {
    /// Messages and server of OTLP 1.11 for traces, generated from `proto/opentelemetry`. Its packages are modules of it.
    otlp {
        mod generated {
            include!(concat!(env!("OUT_DIR"), "/otlp/otlp.rs"));
        }
        pub use generated::opentelemetry::proto::{collector, common, resource, trace};
    }
}
