//! Topology terms: where a volume may live, as sorted key/value pairs.
//!
//! Pure functions. Their results go into the requirements of CreateVolume, and drivers place
//! volumes by its order, so order and hash are exactly upstream's. Source:
//! docs/upstream/provisioner.md, "Topology".

use std::cmp::Ordering;
use std::fmt;

/// One topology segment: key/value pairs sorted by key (all must hold). An empty term holds
/// everywhere.
///
/// Terms order by number of pairs, then pair by pair, key before value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Term(Vec<(String, String)>);

impl Term {
    /// A term of these pairs, in any order.
    pub fn new<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        pairs.sort();
        Self(pairs)
    }

    /// The term of a node for the driver's topology keys, where `label` gives its labels; the first key that the node
    /// lacks, if any.
    pub fn of_labels<'k, 'v>(
        keys: impl IntoIterator<Item = &'k str>,
        label: impl Fn(&str) -> Option<&'v str>,
    ) -> Result<Self, &'k str> {
        let pair = |key| label(key).map(|value| (key, value)).ok_or(key);
        Ok(Self::new(keys.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?))
    }

    /// The pairs in order.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Whether every pair of this term is one of `other`'s: whoever is in `other` is in this.
    pub fn is_subset_of(&self, other: &Term) -> bool {
        self.0.iter().all(|pair| other.0.contains(pair))
    }

    /// The pairs as CSI's `Topology.segments` takes them.
    pub fn segments<M: FromIterator<(String, String)>>(&self) -> M {
        self.0.iter().cloned().collect()
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

impl Ord for Term {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Term {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One alternative of a class's `allowedTopologies`: keys and the values each may have.
pub type AllowedTerm = Vec<(String, Vec<String>)>;

/// Spreads a class's `allowedTopologies` into plain terms: within an alternative the cross product
/// of its value lists, the alternatives one after the other. Not sorted, not made distinct.
pub fn flatten(allowed: &[AllowedTerm]) -> Vec<Term> {
    allowed.iter().filter(|keys| !keys.is_empty()).flat_map(cross_product).collect()
}

fn cross_product(keys: &AllowedTerm) -> Vec<Term> {
    let mut rows: Vec<Vec<(&str, &str)>> = vec![Vec::new()];
    for (key, values) in keys {
        let longer = |row: &Vec<_>, value| row.iter().copied().chain([(key.as_str(), value)]).collect();
        rows =
            values.iter().flat_map(|value| rows.iter().map(move |row| longer(row, value.as_str()))).collect();
    }
    rows.into_iter().map(Term::new).collect()
}

/// Sorts terms and drops identical ones (a term that contains another stays).
pub fn sorted_distinct(mut terms: Vec<Term>) -> Vec<Term> {
    terms.sort();
    terms.dedup();
    terms
}

/// The terms from `first` on, then those before it.
pub fn rotated(terms: &[Term], first: usize) -> Vec<Term> {
    let (before, from) = terms.split_at(first.min(terms.len()));
    from.iter().chain(before).cloned().collect()
}

/// Where the terms begin for a node: with the first one that holds there; none if none does.
pub fn first_on_node(terms: &[Term], node: &Term) -> Option<usize> {
    terms.iter().position(|term| term.is_subset_of(node))
}

/// Where the terms begin for a claim of this name, so that a stateful set's volumes spread. 0 if there are none.
pub fn first_by_name(terms: &[Term], claim_name: &str) -> usize {
    match u32::try_from(terms.len()) {
        Ok(n) if n > 0 => (name_hash(claim_name) % n) as usize,
        _ => 0,
    }
}

/// What decides a claim's place among the terms: hash of its set's name plus its number in the
/// set, wrapping.
///
/// A name that ends in `-<number>` (a u32) is taken for a stateful set's, `<claim>-<set>-<number>`:
/// the set's name is what follows the last dash before the number. Any other name is hashed whole.
pub fn name_hash(claim_name: &str) -> u32 {
    let numbered = claim_name.rsplit_once('-').and_then(|(before, number)| {
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let index: u32 = number.parse().ok().filter(|_| digits)?;
        Some((before.rsplit('-').next().unwrap_or(before), index))
    });
    let (input, index) = numbered.unwrap_or((claim_name, 0));
    fnv1_32(input.as_bytes()).wrapping_add(index)
}

/// FNV-1, 32 bits (multiply, then xor; FNV-1a is the other order).
pub fn fnv1_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |hash: u32, byte| hash.wrapping_mul(16_777_619) ^ u32::from(*byte))
}

#[cfg(test)]
mod tests;
