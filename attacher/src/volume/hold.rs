//! Holds volumes that may be published although no attachment records it, so that they are not released.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The holders of each volume, by the volume's name.
#[derive(Clone)]
pub struct Holds(Arc<Inner>);

struct Inner {
    volumes: Mutex<HashMap<Arc<str>, Held>>,
    freed: Box<dyn Fn(&str) + Send + Sync>,
}

#[derive(Default)]
struct Held {
    holders: usize,
    /// Whether a release waits until nobody holds the volume.
    asked: bool,
}

impl Holds {
    /// Calls `freed` with the name of a volume that [`Holds::hold_back`] has held back, once nobody holds it
    /// any more.
    pub fn new(freed: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { volumes: Mutex::default(), freed: Box::new(freed) }))
    }

    /// Holds the volume until the result and its clones are dropped.
    pub fn hold(&self, volume: &Arc<str>) -> Hold {
        self.volumes().entry(volume.clone()).or_default().holders += 1;
        Hold { of: self.clone(), volume: volume.clone() }
    }

    /// Whether somebody holds the volume.
    pub fn hold_back(&self, volume: &str) -> bool {
        self.volumes().get_mut(volume).is_some_and(|held| {
            held.asked = true;
            true
        })
    }

    fn volumes(&self) -> MutexGuard<'_, HashMap<Arc<str>, Held>> {
        self.0.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hold on a volume: the volume is not released before all are dropped.
pub struct Hold {
    of: Holds,
    volume: Arc<str>,
}

impl Hold {
    /// The volume's name.
    pub fn volume(&self) -> &Arc<str> {
        &self.volume
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        self.of.hold(&self.volume)
    }
}

impl PartialEq for Hold {
    fn eq(&self, other: &Self) -> bool {
        self.volume == other.volume
    }
}

impl Eq for Hold {}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.volume.fmt(f)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let asked = {
            let mut volumes = self.of.volumes();
            let Some(held) = volumes.get_mut(&self.volume) else { return };
            held.holders -= 1;
            if held.holders > 0 {
                return;
            }
            volumes.remove(&self.volume).is_some_and(|held| held.asked)
        };
        if asked {
            (self.of.0.freed)(&self.volume);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_is_freed_when_its_last_hold_is_dropped() {
        let freed: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = freed.clone();
        let holds = Holds::new(move |volume| log.lock().unwrap().push(volume.to_owned()));
        let [asked, other] = ["asked", "other"].map(Arc::from);
        let (one, quiet) = (holds.hold(&asked), holds.hold(&other));
        let two = one.clone();
        assert!(holds.hold_back("asked") && !holds.hold_back("a third"));
        drop(one);
        assert!(holds.hold_back("asked") && freed.lock().unwrap().is_empty());
        drop((two, quiet));
        assert!(!holds.hold_back("asked") && !holds.hold_back("other"));
        assert_eq!(*freed.lock().unwrap(), ["asked"], "nobody asked for the other");
        assert!(holds.volumes().is_empty(), "nothing is left behind");
    }
}
