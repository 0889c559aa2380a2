//! The source of an attachment: a PersistentVolume, or a volume that exists only in the attachment.

use kubernetes::object::{Attachment, AttachmentSource, CsiSource, VolumeSpec};

use super::error::SourceError;

/// What is attached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    /// The PersistentVolume of this name.
    Volume(&'a str),
    /// A volume that exists only in the attachment.
    Inline(&'a VolumeSpec, &'a CsiSource),
}

/// Reads an attachment's source.
///
/// # Errors
/// The attachment has both kinds of source, none, or an inline source that is not CSI.
pub(crate) fn source(attachment: &Attachment) -> Result<Source<'_>, SourceError> {
    match &attachment.source {
        AttachmentSource::Volume(name) => Ok(Source::Volume(name)),
        AttachmentSource::Inline(spec) => match &spec.csi {
            Some(csi) => Ok(Source::Inline(spec, csi)),
            None => Err(SourceError::InlineNotCsi),
        },
        AttachmentSource::Both => Err(SourceError::Both),
        AttachmentSource::Neither => Err(SourceError::Neither),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{DRIVER, attachment};
    use serde_json::{Value, json};

    #[test]
    fn each_source_is_read_or_refused() {
        let inline = json!({"csi": {"driver": DRIVER, "volumeHandle": "h"}});
        let read = |source: Value| {
            let attachment = attachment(json!({"spec": {"source": source}}));
            super::source(&attachment)
                .map(|source| matches!(source, Source::Inline(..)))
                .map_err(|error| error.to_string())
        };
        let no_name = Value::Null;
        assert_eq!(read(json!({})), Ok(false));
        assert_eq!(read(json!({"persistentVolumeName": no_name, "inlineVolumeSpec": inline})), Ok(true));
        for (source, word) in [
            (json!({"inlineVolumeSpec": inline}), "both"),
            (json!({"persistentVolumeName": no_name}), "neither"),
            (json!({"persistentVolumeName": no_name, "inlineVolumeSpec": {"nfs": {}}}), "csi"),
        ] {
            let error = read(source).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
