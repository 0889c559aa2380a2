//! Maps each request type to its method and reply.

use super::Redact;

/// A request of a unary RPC. Implemented by the build script for each request type of
/// `csi.proto` and `pluginregistration.proto`; no two methods share a request type.
pub trait Rpc: prost::Message + Default + Clone + Redact + 'static {
    /// The reply message.
    type Reply: prost::Message + Default + Redact + 'static;
    /// The full method path, such as `/csi.v1.Controller/CreateVolume`: the gRPC path and the value
    /// of the metric label `method_name`.
    const METHOD: &'static str;
}

/// A request of an RPC that answers with a stream of messages (the two SnapshotMetadata methods).
pub trait StreamRpc: prost::Message + Default + Clone + Redact + 'static {
    /// One message of the reply.
    type Reply: prost::Message + Default + Redact + 'static;
    /// The full method path, such as `/csi.v1.SnapshotMetadata/GetMetadataDelta`.
    const METHOD: &'static str;
}
