//! When capacities are asked for before the next poll: after a volume came, went or could not be made.

use base::queue::{Place, WorkQueue};

use super::item::Item;
use super::state::{Shared, Work};

/// Tells the capacities what happened to volumes; does nothing if none are published.
#[derive(Clone, Default)]
pub(crate) struct Trigger(Option<(Shared, WorkQueue<Work>)>);

impl Trigger {
    pub(super) fn new(state: Shared, queue: WorkQueue<Work>) -> Self {
        Self(Some((state, queue)))
    }

    /// A volume of this class came or went: in these segments, or who knows where if there are none.
    pub(crate) fn volume_in<'a>(&self, segments: impl IntoIterator<Item = &'a str>, class: &str) {
        let Some((state, _)) = &self.0 else { return };
        let mut segments = segments.into_iter().peekable();
        let items: Vec<Item> = {
            let state = state.lock();
            match segments.peek() {
                None => state.items().of_class(class),
                Some(_) => segments.flat_map(|segment| state.items().of_segment(segment)).collect(),
            }
        };
        self.refresh(items);
    }

    /// A volume of this class could not be made.
    pub(crate) fn failed(&self, class: &str) {
        self.volume_in([], class);
    }

    fn refresh(&self, items: Vec<Item>) {
        if let Some((_, queue)) = &self.0 {
            items.into_iter().for_each(|item| queue.add(Work::Refresh(item), Place::lane(0)));
        }
    }
}
