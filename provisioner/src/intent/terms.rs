//! Lists of topology terms as the text of an annotation.
//!
//! Claims of a large cluster have the same terms, and a thousand nodes are many of them. So a Lease holds each list once, and
//! the intents in it name it. Neighbours in a sorted list are alike: of each value only what differs from the one before it is
//! written.

use std::sync::Arc;

use csi::topology::Term;
use csi::v1::{Topology, TopologyRequirement};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::topology::Placement;

/// What the annotations of lists begin with. A version that does not know them takes them for intents that it cannot read, and
/// lets them be.
const PREFIX: &str = "intent.mooring.dev/terms.";
/// Lists of so many terms stay in their request: all zones of a region.
const FEW: usize = 4;

/// A list that intents share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The same for the same text.
    pub(crate) name: Arc<str>,
    /// The list as text.
    pub(crate) text: Arc<str>,
}

/// Why a text is no list of terms.
#[derive(Debug, Error)]
pub(crate) enum TermsError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("it has not one value for each key of each term")]
    Values,
    #[error("a value is to be like one that is not there")]
    Like,
}

/// Terms in a row with the same keys.
#[derive(Serialize, Deserialize)]
struct Group {
    keys: Vec<String>,
    /// Those of the first term, then those of the next.
    values: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Value {
    Whole(String),
    /// So many bytes of the same key's value in the term before, then this, then so many of its last bytes.
    Like(u8, String, u8),
}

impl Listed {
    /// What the list needs in a Lease.
    pub(super) fn bytes(&self) -> usize {
        bytes_of(&self.name, &self.text)
    }

    /// These terms, if they are so many that it is worth it.
    pub(super) fn of(terms: &[Term]) -> Option<Self> {
        if terms.len() <= FEW {
            return None;
        }
        // Texts and numbers can always be written as JSON.
        let text = to_text(terms).ok()?;
        Some(Self { name: format!("{:032x}", fnv1a_128(&text)).into(), text: text.into() })
    }
}

/// The list that was asked for last: claims that come together have the same terms.
#[derive(Default)]
pub(super) struct Last(Option<(Arc<[Term]>, Option<Listed>)>);

impl Last {
    /// As [`Listed::of`].
    pub(super) fn of(&mut self, terms: &Arc<[Term]>) -> Option<Listed> {
        if let Some((known, listed)) = &self.0
            && known == terms
        {
            return listed.clone();
        }
        let listed = Listed::of(terms);
        self.0 = Some((terms.clone(), listed.clone()));
        listed
    }
}

/// What a list of this name and text needs in a Lease.
pub(super) fn bytes_of(name: &str, text: &str) -> usize {
    PREFIX.len() + name.len() + text.len()
}

/// The annotation of a list.
pub(super) fn terms_key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// The name of the list that an annotation of this name holds, if it holds one.
pub(super) fn terms_name(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)
}

/// The list as text.
fn to_text(terms: &[Term]) -> Result<String, serde_json::Error> {
    let mut groups: Vec<Group> = Vec::new();
    let mut before: &[(String, String)] = &[];
    for term in terms {
        let pairs = term.pairs();
        let keys = || pairs.iter().map(|(key, _)| key);
        let is_alike = !pairs.is_empty() && keys().eq(before.iter().map(|(key, _)| key));
        if !is_alike {
            groups.push(Group { keys: keys().cloned().collect(), values: Vec::new() });
            before = &[];
        }
        if let Some(group) = groups.last_mut() {
            let before = before.iter().map(|(_, value)| value.as_str()).chain(std::iter::repeat(""));
            group
                .values
                .extend(pairs.iter().zip(before).map(|((_, value), before)| value_like(value, before)));
        }
        before = pairs;
    }
    serde_json::to_string(&groups)
}

/// The list of a text.
///
/// # Errors
/// The text is not one that [`Listed::of`] writes.
pub(super) fn from_text(text: &str) -> Result<Arc<[Term]>, TermsError> {
    let groups: Vec<Group> = serde_json::from_str(text)?;
    let mut terms = Vec::new();
    for Group { keys, values } in groups {
        if keys.is_empty() || !values.len().is_multiple_of(keys.len()) {
            if !values.is_empty() {
                return Err(TermsError::Values);
            }
            terms.push(Term::default());
            continue;
        }
        let mut before = vec![String::new(); keys.len()];
        for row in values.chunks(keys.len()) {
            for (known, value) in before.iter_mut().zip(row) {
                *known = value_of(value, known).ok_or(TermsError::Like)?;
            }
            terms.push(Term::new(keys.iter().cloned().zip(before.iter().cloned())));
        }
    }
    Ok(terms.into())
}

fn value_like(value: &str, before: &str) -> Value {
    /// What `[0,"",0]` costs more than `""`.
    const PRICE: usize = 6;
    let most = usize::from(u8::MAX);
    let alike = |left: &mut dyn Iterator<Item = char>, right: &mut dyn Iterator<Item = char>| {
        let mut bytes = 0;
        for (one, other) in left.zip(right) {
            if one != other || bytes + one.len_utf8() > most {
                break;
            }
            bytes += one.len_utf8();
        }
        bytes
    };
    let first = alike(&mut value.chars(), &mut before.chars());
    let (rest, left) = (value.get(first..).unwrap_or_default(), before.get(first..).unwrap_or_default());
    let last = alike(&mut rest.chars().rev(), &mut left.chars().rev());
    let middle = rest.get(..rest.len() - last).unwrap_or_default();
    match (u8::try_from(first), u8::try_from(last)) {
        (Ok(begin), Ok(end)) if first + last > PRICE => Value::Like(begin, middle.to_owned(), end),
        _ => Value::Whole(value.to_owned()),
    }
}

fn value_of(value: &Value, before: &str) -> Option<String> {
    match value {
        Value::Whole(value) => Some(value.clone()),
        Value::Like(begin, middle, end) => {
            let first = before.get(..usize::from(*begin))?;
            let last = before.get(before.len().checked_sub(usize::from(*end))?..)?;
            Some(format!("{first}{middle}{last}"))
        }
    }
}

/// The requirement as terms in one order, and which of them the preferred ones begin with; `None` if it is not like that.
pub(super) fn placement_of(requirement: &TopologyRequirement) -> Option<Placement> {
    let term = |topology: &Topology| Term::new(topology.segments.clone());
    let first = requirement.preferred.first()?;
    let first = requirement.requisite.iter().position(|topology| topology == first)?;
    let placement = Placement::of(requirement.requisite.iter().map(term).collect(), first)?;
    (placement.requirement() == *requirement).then_some(placement)
}

/// FNV-1a, 128 bits.
fn fnv1a_128(text: &str) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use csi::topology::sorted_distinct;
    use proptest::prelude::*;

    fn terms() -> impl Strategy<Value = Vec<Term>> {
        let value =
            prop_oneof!["", "z1", "ip-10-0-[0-9]{1,3}.eu.internal", "é[aé]{0,3}é", "x{250,300}", ".*"];
        // A term has each key once.
        let pairs = prop::collection::btree_map(prop_oneof!["zone", "host", "a/[bc]"], value, 0..3);
        prop::collection::vec(pairs.prop_map(Term::new), 0..20)
    }

    proptest! {
        #[test]
        fn terms_come_back_in_their_order(terms in terms()) {
            prop_assert_eq!(&*from_text(&to_text(&terms).unwrap()).unwrap(), &terms[..]);
        }

        #[test]
        fn rotation_is_found_and_nothing_else_taken_for_one(
            terms in terms(), first in 0_usize..20, swap in any::<bool>(),
        ) {
            let topology = |term: &Term| Topology { segments: term.segments() };
            let requisite: Vec<Topology> = terms.iter().map(topology).collect();
            let mut preferred = requisite.clone();
            preferred.rotate_left(if requisite.is_empty() { 0 } else { first % requisite.len() });
            if swap && preferred.len() > 2 {
                preferred.swap(0, 2);
            }
            let requirement = TopologyRequirement { requisite, preferred };
            let sure = !swap && !requirement.requisite.is_empty()
                && sorted_distinct(terms.clone()).len() == terms.len();
            let found = placement_of(&requirement);
            prop_assert!(found.is_some() || !sure);
            if let Some(placement) = found {
                prop_assert_eq!(placement.requirement(), requirement);
            }
        }

        #[test]
        fn text_of_anything_does_no_harm(text in r#"\[(\{"keys":\["a"\],"values":\[("é"|\[[0-9]{1,3},"é?",[0-9]\]|,){0,6}\]\},?)*\]"#) {
            let _ = from_text(&text);
        }
    }

    #[test]
    fn thousand_hosts_are_short() {
        let host = |number: u32| {
            Term::new([("host", format!("ip-10-0-{}-{}.eu.internal", number / 256, number % 256))])
        };
        let mut terms: Vec<Term> = (0..1000).map(host).collect();
        terms.sort();
        let listed = Listed::of(&terms).unwrap();
        assert!(listed.text.len() < 16_000, "{}", listed.text.len());
        assert_eq!((listed.name.len(), &*from_text(&listed.text).unwrap()), (32, &terms[..]));
        assert_eq!(Listed::of(&terms[..FEW]), None, "not worth it");
    }

    #[test]
    fn text_of_something_else_is_refused() {
        for text in [
            "",
            "{}",
            r#"[{"keys":["a","b"],"values":["x"]}]"#,
            r#"[{"keys":[],"values":["x"]}]"#,
            r#"[{"keys":["a"],"values":[[1,"x",0]]}]"#,
            r#"[{"keys":["a"],"values":["é",[1,"x",0]]}]"#,
            r#"[{"keys":["a"],"values":["x",[0,"x",2]]}]"#,
        ] {
            assert!(from_text(text).is_err(), "{text}");
        }
    }
}
