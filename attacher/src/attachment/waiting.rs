//! Attachments that cannot go on before an object appears or changes.
//!
//! `Differs:` upstream tries again after the back-off only; ours also at once when the PersistentVolume or CSINode
//! comes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::kube::object::Key;

use super::error::On;

/// Who waits for what; an attachment waits for one object at a time.
#[derive(Debug, Default)]
pub struct Waiting {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    volumes: HashMap<Box<str>, Vec<Key>>,
    nodes: HashMap<Box<str>, Vec<Key>>,
    on: HashMap<Key, On>,
}

impl Waiting {
    /// The attachment waits for this object from now on.
    pub fn join(&self, key: &Key, on: On) {
        let mut state = self.state();
        state.leave(key);
        match &on {
            On::Volume(name) => state.volumes.entry(name.clone()).or_default().push(key.clone()),
            On::Node(name) => state.nodes.entry(name.clone()).or_default().push(key.clone()),
        }
        state.on.insert(key.clone(), on);
    }

    /// The attachment waits for nothing.
    pub fn leave(&self, key: &Key) {
        self.state().leave(key);
    }

    /// Those who wait for this volume; they do so no more.
    pub fn volume_came(&self, name: &str) -> Vec<Key> {
        let mut state = self.state();
        let keys = state.volumes.remove(name).unwrap_or_default();
        keys.iter().for_each(|key| drop(state.on.remove(key)));
        keys
    }

    /// Those who wait for this CSINode; they do so no more.
    pub fn node_came(&self, name: &str) -> Vec<Key> {
        let mut state = self.state();
        let keys = state.nodes.remove(name).unwrap_or_default();
        keys.iter().for_each(|key| drop(state.on.remove(key)));
        keys
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn leave(&mut self, key: &Key) {
        let Some(on) = self.on.remove(key) else { return };
        let (map, name) = match &on {
            On::Volume(name) => (&mut self.volumes, name),
            On::Node(name) => (&mut self.nodes, name),
        };
        if let Some(keys) = map.get_mut(name) {
            keys.retain(|known| known != key);
            if keys.is_empty() {
                map.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waits_for_one_object_and_is_told_once() {
        let waiting = Waiting::default();
        let [a, b] = ["a", "b"].map(Key::cluster);
        waiting.join(&a, On::Volume("pv".into()));
        waiting.join(&b, On::Volume("pv".into()));
        waiting.join(&a, On::Node("n".into()));
        assert_eq!(waiting.volume_came("pv"), std::slice::from_ref(&b));
        assert!(waiting.volume_came("pv").is_empty());
        assert!(waiting.volume_came("n").is_empty());
        assert_eq!(waiting.node_came("n"), std::slice::from_ref(&a));
        waiting.join(&a, On::Node("n".into()));
        waiting.leave(&a);
        assert!(waiting.node_came("n").is_empty());
        assert!(
            waiting.state().volumes.is_empty() && waiting.state().on.is_empty(),
            "nothing is left behind"
        );
    }
}
