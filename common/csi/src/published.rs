//! ListVolumes for callers who need only where volumes are published.
//!
//! A reply may hold thousands of volumes. We decode only their ids; protobuf skips fields that a message type
//! does not name, and contexts, conditions and topologies are most of the reply. On the wire, in metrics and
//! for the driver it is the same call. The log shows only what was decoded.

use prost::Message;

use super::redact::{Line, Object};
use super::{Redact, Rpc};

/// Asks for a page of the driver's volumes.
#[derive(Clone, PartialEq, Message)]
pub struct ListPublishedRequest {
    /// Volumes on a page at the most; 0 leaves it to the driver.
    #[prost(int32, tag = "1")]
    pub max_entries: i32,
    /// Where the page begins: `next_token` of the one before; empty for the first.
    #[prost(string, tag = "2")]
    pub starting_token: String,
}

/// A page.
#[derive(Clone, PartialEq, Message)]
pub struct ListPublishedResponse {
    /// The volumes.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<PublishedEntry>,
    /// Where the next page begins; empty after the last.
    #[prost(string, tag = "2")]
    pub next_token: String,
}

/// One volume; a driver may leave out either part.
#[derive(Clone, PartialEq, Message)]
pub struct PublishedEntry {
    /// Which volume.
    #[prost(message, optional, tag = "1")]
    pub volume: Option<ListedVolume>,
    /// Where it is.
    #[prost(message, optional, tag = "2")]
    pub status: Option<PublishedNodes>,
}

/// A volume, by id.
#[derive(Clone, PartialEq, Message)]
pub struct ListedVolume {
    /// Its id.
    #[prost(string, tag = "2")]
    pub volume_id: String,
}

/// The nodes that a volume is published to.
#[derive(Clone, PartialEq, Message)]
pub struct PublishedNodes {
    /// Their ids.
    #[prost(string, repeated, tag = "1")]
    pub published_node_ids: Vec<String>,
}

impl Rpc for ListPublishedRequest {
    type Reply = ListPublishedResponse;
    const METHOD: &'static str = <super::v1::ListVolumesRequest as Rpc>::METHOD;
}

impl Redact for ListPublishedRequest {
    fn redact(&self, out: &mut Line) {
        let mut object = Object::new(out);
        object.number("max_entries", i64::from(self.max_entries));
        object.text("starting_token", &self.starting_token);
        object.end();
    }
}

impl Redact for ListPublishedResponse {
    fn redact(&self, out: &mut Line) {
        let mut object = Object::new(out);
        object.messages("entries", &self.entries);
        object.text("next_token", &self.next_token);
        object.end();
    }
}

impl Redact for PublishedEntry {
    fn redact(&self, out: &mut Line) {
        let mut object = Object::new(out);
        object.message("status", self.status.as_ref());
        object.message("volume", self.volume.as_ref());
        object.end();
    }
}

impl Redact for ListedVolume {
    fn redact(&self, out: &mut Line) {
        let mut object = Object::new(out);
        object.text("volume_id", &self.volume_id);
        object.end();
    }
}

impl Redact for PublishedNodes {
    fn redact(&self, out: &mut Line) {
        let mut object = Object::new(out);
        object.texts("published_node_ids", &self.published_node_ids);
        object.end();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::redacted;
    use super::super::v1;
    use super::super::v1_12::{self, list_volumes_response::Entry, list_volumes_response::VolumeStatus};
    use super::*;

    #[test]
    fn is_the_same_call_and_reads_ids_out_of_whole_replies() {
        let asked = v1::ListVolumesRequest { max_entries: 7, starting_token: "t".to_owned() };
        let ours = ListPublishedRequest { max_entries: 7, starting_token: "t".to_owned() };
        assert_eq!(ours.encode_to_vec(), asked.encode_to_vec());
        assert_eq!(
            (ListPublishedRequest::METHOD, redacted(&ours)),
            (v1::ListVolumesRequest::METHOD, redacted(&asked))
        );

        let volume = v1::Volume {
            capacity_bytes: 1 << 40,
            volume_id: "v".to_owned(),
            volume_context: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            accessible_topology: vec![v1::Topology::default()],
            ..v1::Volume::default()
        };
        let nodes = ["n1", "n2"].map(str::to_owned).to_vec();
        let condition = v1_12::VolumeCondition { abnormal: true, message: "m".to_owned() };
        let status = VolumeStatus { published_node_ids: nodes.clone(), volume_condition: Some(condition) };
        let whole = v1_12::ListVolumesResponse {
            entries: vec![Entry { volume: Some(volume), status: Some(status) }, Entry::default()],
            next_token: "next".to_owned(),
        };
        let read = ListPublishedResponse::decode(whole.encode_to_vec().as_slice()).expect("is a reply");
        let entry = PublishedEntry {
            volume: Some(ListedVolume { volume_id: "v".to_owned() }),
            status: Some(PublishedNodes { published_node_ids: nodes }),
        };
        assert_eq!(read.entries, [entry, PublishedEntry::default()]);
        assert_eq!(read.next_token, "next");
        assert_eq!(
            redacted(&read),
            r#"{"entries":[{"status":{"published_node_ids":["n1","n2"]},"volume":{"volume_id":"v"}},{}],"next_token":"next"}"#
        );
    }
}
