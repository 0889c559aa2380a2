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
