//! Giving back the memory that a burst needed.

use std::collections::HashMap;
use std::hash::Hash;

/// Keys that an idle queue has room for without asking for memory.
pub(super) const FEW: usize = 16;

/// Frees the memory of a map that is nearly empty. Cheap on average, as the map must have grown eightfold
/// before.
pub(super) fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 8 * (FEW + map.len()) {
        map.shrink_to(FEW + 2 * map.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shrunk(capacity: usize, count: usize) -> usize {
        let mut map: HashMap<usize, ()> = HashMap::with_capacity(capacity);
        map.extend((0..count).map(|key| (key, ())));
        shrink(&mut map);
        map.capacity()
    }

    #[test]
    fn much_more_room_than_needed_is_given_back() {
        assert!(shrunk(10_000, 0) < 4 * FEW);
        let left = shrunk(10_000, 10);
        assert!((FEW + 2 * 10..100).contains(&left), "room for twice as many stays: {left}");
    }

    #[test]
    fn some_more_room_than_needed_is_kept() {
        assert!(shrunk(100, 0) >= 100);
        assert!(shrunk(1_000, 300) >= 1_000);
    }
}
