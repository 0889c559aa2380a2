//! Tells which volumes are attached to any node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::object::Attachment;
use super::store::{Change, Store};

/// Counts the attachments that name a volume, whatever their attacher and state.
#[derive(Debug, Clone, Default)]
pub struct Attached(Arc<Mutex<HashMap<Arc<str>, usize>>>);

impl Attached {
    /// Follows a cache. Calls `released` with a volume's name when its last attachment is gone.
    pub fn follow(attachments: &Store<Attachment>, released: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let attached = Self::default();
        let counts = attached.clone();
        attachments.subscribe(move |change| match change {
            Change::Added(new) => counts.count(new),
            Change::Updated { old, new } => {
                counts.count(new);
                counts.uncount(old, &released);
            }
            Change::Removed(old) | Change::Left(old) => counts.uncount(old, &released),
        });
        attached
    }

    /// Whether any attachment names this volume.
    pub fn has(&self, volume: &str) -> bool {
        self.counts().contains_key(volume)
    }

    fn count(&self, attachment: &Attachment) {
        if let Some(volume) = attachment.volume() {
            *self.counts().entry(volume.clone()).or_default() += 1;
        }
    }

    fn uncount(&self, attachment: &Attachment, released: &impl Fn(&str)) {
        let Some(volume) = attachment.volume() else { return };
        let last = {
            let mut counts = self.counts();
            let Some(count) = counts.get_mut(volume) else { return };
            *count -= 1;
            let last = *count == 0;
            if last {
                counts.remove(volume);
            }
            last
        };
        if last {
            released(volume);
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::{Key, Scope, WireAttachment};
    use super::super::store::cache;
    use super::*;
    use serde_json::json;

    fn attachment(name: &str, version: u64, volume: &str) -> WireAttachment {
        let object = json!({
            "metadata": {"name": name, "uid": name, "resourceVersion": version.to_string()},
            "spec": {"attacher": "any", "nodeName": "n", "source": {"persistentVolumeName": volume}},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_volume_is_released_with_its_last_attachment() {
        let (writer, store) = cache::<Attachment>(Arc::new(Scope { driver: "d".into(), ..Scope::default() }));
        let log = Arc::new(Mutex::new(Vec::new()));
        let told = log.clone();
        let attached = Attached::follow(&store, move |name| told.lock().unwrap().push(name.to_owned()));
        writer.apply(attachment("a", 1, "pv"));
        writer.apply(attachment("b", 2, "pv"));
        writer.apply(attachment("a", 3, "pv"));
        writer.remove(&Key::cluster("a"), &"".into());
        assert!(attached.has("pv") && !attached.has("other") && log.lock().unwrap().is_empty());
        writer.remove(&Key::cluster("b"), &"".into());
        assert!(!attached.has("pv"));
        assert_eq!(*log.lock().unwrap(), ["pv"]);
    }
}
