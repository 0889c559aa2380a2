//! Images in one tar file, in the OCI image layout: blobs by their digest, and an index that names the images.

use std::collections::BTreeMap;
use std::path::Path;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::error::ImageError;
use super::layer::Layer;

/// An image: a name and what it runs.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its whole name, with registry and tag.
    pub name: String,
    /// What it runs; a pod's `args` come after it.
    pub entrypoint: Vec<String>,
    /// The user that it runs as unless the pod says otherwise, by number.
    pub user: String,
}

/// Images, of which several may have the same layer.
#[derive(Debug, Default)]
pub struct Archive {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: Vec<Value>,
}

impl Archive {
    /// No image yet.
    pub fn new() -> Archive {
        Archive::default()
    }

    /// The names of the images, in the order in which they were added.
    pub fn names(&self) -> Vec<String> {
        let name = |manifest: &Value| {
            manifest.pointer("/annotations/io.containerd.image.name")?.as_str().map(str::to_owned)
        };
        self.manifests.iter().filter_map(name).collect()
    }

    /// Keeps `content`; gives the descriptor that names it.
    fn blob(&mut self, content: Vec<u8>, media_type: &str) -> Value {
        let hex: String =
            digest(&SHA256, &content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let descriptor =
            json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": content.len() });
        self.blobs.insert(hex, content);
        descriptor
    }

    /// Adds the images, all over the same layer.
    ///
    /// # Errors
    /// See [`Layer::tar`].
    pub fn add(&mut self, layer: &Layer, images: &[Image]) -> Result<(), ImageError> {
        let layer = self.blob(layer.tar()?, "application/vnd.oci.image.layer.v1.tar");
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        for image in images {
            let configuration = json!({
                "architecture": architecture,
                "os": "linux",
                "created": "1970-01-01T00:00:00Z",
                "config": {
                    "Entrypoint": image.entrypoint,
                    "User": image.user,
                    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                },
                "rootfs": { "type": "layers", "diff_ids": [layer.get("digest")] },
                "history": [{ "created": "1970-01-01T00:00:00Z" }],
            });
            let configuration =
                self.blob(configuration.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json");
            let media_type = "application/vnd.oci.image.manifest.v1+json";
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": media_type,
                "config": configuration,
                "layers": [layer],
            });
            let mut manifest = self.blob(manifest.to_string().into_bytes(), media_type);
            if let Some(manifest) = manifest.as_object_mut() {
                manifest
                    .insert("platform".to_owned(), json!({ "architecture": architecture, "os": "linux" }));
                let tag = image.name.rsplit(':').next().unwrap_or_default();
                let names = json!({
                    "io.containerd.image.name": image.name,
                    "org.opencontainers.image.ref.name": tag,
                });
                manifest.insert("annotations".to_owned(), names);
            }
            self.manifests.push(manifest);
        }
        Ok(())
    }

    /// Writes the archive; the same images are the same bytes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), ImageError> {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": self.manifests,
        });
        let mut whole = Layer::new()
            .text("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
            .text("index.json", &index.to_string())
            .folder("blobs", 0o755)
            .folder("blobs/sha256", 0o755);
        for (hex, content) in &self.blobs {
            whole = whole.bytes(&format!("blobs/sha256/{hex}"), content.clone());
        }
        std::fs::write(file, whole.tar()?).map_err(ImageError::file(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str) -> Image {
        Image {
            name: format!("example.com/{name}:v1"),
            entrypoint: vec![format!("/{name}")],
            user: "0".to_owned(),
        }
    }

    fn entries(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.expect("an entry");
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).expect("read");
            (entry.path().expect("a path").display().to_string(), content)
        };
        archive.entries().expect("entries").map(read).collect()
    }

    #[test]
    fn images_share_their_layer_and_each_blob_has_its_digest() {
        let mut archive = Archive::new();
        archive.add(&Layer::new().text("a", "1"), &[image("one"), image("two")]).expect("added");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("images.tar");
        archive.write(&file).expect("written");
        let first = std::fs::read(&file).expect("read");
        let entries = entries(&first);
        let blobs: Vec<_> = entries
            .iter()
            .filter(|(path, _)| path.starts_with("blobs/sha256/") && !path.ends_with('/'))
            .collect();
        assert_eq!(blobs.len(), 1 + 2 + 2, "one layer, two configurations, two manifests");
        for (path, content) in blobs {
            let hex: String =
                digest(&SHA256, content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(*path, format!("blobs/sha256/{hex}"));
        }
        let index: Value = serde_json::from_slice(&entries["index.json"]).expect("JSON");
        assert_eq!(
            index.pointer("/manifests/1/annotations/io.containerd.image.name"),
            Some(&json!("example.com/two:v1"))
        );
        archive.write(&file).expect("written again");
        assert_eq!(std::fs::read(&file).expect("read"), first);
    }
}
