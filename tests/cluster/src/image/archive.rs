//! Images in one tar file, in the OCI image layout: blobs by their digest, and an index that names the images.

use std::collections::BTreeMap;
use std::path::Path;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::error::ImageError;
use super::layer::Layer;
use super::platform::Platform;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image: its names and what it runs.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its whole names, with registry and tag.
    pub names: Vec<String>,
    /// What it runs; a pod's `args` come after it.
    pub entrypoint: Vec<String>,
    /// The user that it runs as unless the pod says otherwise, by number.
    pub user: String,
}

/// Images, of which several may have the same layer.
#[derive(Debug, Default)]
pub struct Archive {
    blobs: BTreeMap<String, Vec<u8>>,
    images: Vec<Packed>,
}

/// An image in an archive.
#[derive(Debug)]
struct Packed {
    names: Vec<String>,
    /// The descriptor of its manifest for each platform.
    manifests: Vec<Value>,
}

impl Archive {
    /// No image yet.
    pub fn new() -> Archive {
        Archive::default()
    }

    /// The names of the images, in the order in which they were added.
    pub fn names(&self) -> Vec<String> {
        self.images.iter().flat_map(|image| image.names.clone()).collect()
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

    /// Adds the images of one platform, all over the same layer. An image that is there already for another platform is then one
    /// for both.
    ///
    /// # Errors
    /// See [`Layer::tar`].
    pub fn add(&mut self, platform: &Platform, layer: &Layer, images: &[Image]) -> Result<(), ImageError> {
        let layer = self.blob(layer.tar()?, "application/vnd.oci.image.layer.v1.tar");
        let mut what = json!({ "architecture": platform.architecture, "os": "linux" });
        if let Some(variant) = platform.variant {
            set(&mut what, "variant", json!(variant));
        }
        for image in images {
            let mut configuration = what.clone();
            set(&mut configuration, "created", json!("1970-01-01T00:00:00Z"));
            let config = json!({
                "Entrypoint": image.entrypoint,
                "User": image.user,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            });
            set(&mut configuration, "config", config);
            set(&mut configuration, "rootfs", json!({ "type": "layers", "diff_ids": [layer.get("digest")] }));
            set(&mut configuration, "history", json!([{ "created": "1970-01-01T00:00:00Z" }]));
            let configuration =
                self.blob(configuration.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json");
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": configuration,
                "layers": [layer],
            });
            let mut manifest = self.blob(manifest.to_string().into_bytes(), MANIFEST);
            set(&mut manifest, "platform", what.clone());
            match self.images.iter_mut().find(|packed| packed.names == image.names) {
                Some(packed) => packed.manifests.push(manifest),
                None => self.images.push(Packed { names: image.names.clone(), manifests: vec![manifest] }),
            }
        }
        Ok(())
    }

    /// Writes the archive; the same images are the same bytes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(mut self, file: &Path) -> Result<(), ImageError> {
        let mut named = Vec::new();
        for image in std::mem::take(&mut self.images) {
            let descriptor = match <[Value; 1]>::try_from(image.manifests) {
                Ok([one]) => one,
                Err(several) => {
                    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": several });
                    self.blob(index.to_string().into_bytes(), INDEX)
                }
            };
            for name in image.names {
                let tag = name.rsplit(':').next().unwrap_or_default();
                let names = json!({
                    "io.containerd.image.name": name,
                    "org.opencontainers.image.ref.name": tag,
                });
                let mut descriptor = descriptor.clone();
                set(&mut descriptor, "annotations", names);
                named.push(descriptor);
            }
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": named });
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

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::image::PLATFORMS;

    fn image(name: &str) -> Image {
        Image {
            names: vec![format!("example.com/{name}:v1")],
            entrypoint: vec![format!("/{name}")],
            user: "0".to_owned(),
        }
    }

    /// What is in the archive that holds these layers for these platforms, each with two images.
    fn written(layers: &[(Platform, Layer)], images: &[Image]) -> (Vec<u8>, BTreeMap<String, Vec<u8>>) {
        let mut archive = Archive::new();
        for (platform, layer) in layers {
            archive.add(platform, layer, images).expect("added");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("images.tar");
        archive.write(&file).expect("written");
        let bytes = std::fs::read(&file).expect("read");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.expect("an entry");
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).expect("read");
            (entry.path().expect("a path").display().to_string(), content)
        };
        let entries = archive.entries().expect("entries").map(read).collect();
        (bytes, entries)
    }

    fn blobs(entries: &BTreeMap<String, Vec<u8>>) -> usize {
        entries.keys().filter(|path| path.starts_with("blobs/sha256/") && !path.ends_with('/')).count()
    }

    fn json_of(entries: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
        serde_json::from_slice(&entries[path]).expect("JSON")
    }

    fn blob(entries: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Value {
        let digest = descriptor["digest"].as_str().expect("a digest").replace(':', "/");
        json_of(entries, &format!("blobs/{digest}"))
    }

    #[test]
    fn images_share_their_layer_and_each_blob_has_its_digest() {
        let [here, ..] = PLATFORMS;
        let layers = [(here, Layer::new().text("a", "1"))];
        let (first, entries) = written(&layers, &[image("one"), image("two")]);
        assert_eq!(blobs(&entries), 1 + 2 + 2, "one layer, two configurations, two manifests");
        let of_blobs =
            entries.iter().filter(|(path, _)| path.starts_with("blobs/sha256/") && !path.ends_with('/'));
        for (path, content) in of_blobs {
            let hex: String =
                digest(&SHA256, content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(*path, format!("blobs/sha256/{hex}"));
        }
        let index = json_of(&entries, "index.json");
        assert_eq!(
            index.pointer("/manifests/1/annotations/io.containerd.image.name"),
            Some(&json!("example.com/two:v1"))
        );
        assert_eq!(
            written(&layers, &[image("one"), image("two")]).0,
            first,
            "the same images, the same bytes"
        );
    }

    #[test]
    fn image_of_several_platforms_is_an_index_of_them() {
        let layers = PLATFORMS.map(|platform| (platform, Layer::new().text("a", platform.target)));
        let two =
            Image { names: vec!["example.com/two:v1".into(), "example.com/two:v4".into()], ..image("two") };
        let (_, entries) = written(&layers, &[image("one"), two]);
        let index = json_of(&entries, "index.json");
        let named: Vec<_> = index["manifests"].as_array().expect("images").iter().collect();
        assert_eq!(named.len(), 3);
        assert_eq!(named[1]["digest"], named[2]["digest"], "one image of two names");
        assert_eq!(named[2]["annotations"]["io.containerd.image.name"], "example.com/two:v4");
        let of_image = blob(&entries, named[0]);
        assert_eq!(of_image["mediaType"], INDEX);
        let of_arm = &of_image["manifests"][2];
        assert_eq!(of_arm["platform"], json!({"architecture": "arm", "os": "linux", "variant": "v7"}));
        let configuration = blob(&entries, &blob(&entries, of_arm)["config"]);
        assert_eq!(
            (&configuration["architecture"], &configuration["variant"]),
            (&json!("arm"), &json!("v7"))
        );
        let digests: std::collections::BTreeSet<_> = of_image["manifests"]
            .as_array()
            .expect("manifests")
            .iter()
            .map(|one| one["digest"].to_string())
            .collect();
        assert_eq!(digests.len(), 5);
    }
}
