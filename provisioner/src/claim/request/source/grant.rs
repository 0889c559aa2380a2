//! Who may use a source in another namespace.

use kubernetes::object::{Claim, GrantTo, WireGrant};

use super::super::super::eligible::source;
use super::asked::Asked;

/// Whether the claim may name this source: it is in the claim's own namespace, or a grant in the source's namespace says so.
pub(crate) fn may_refer(claim: &Claim, asked: &Asked, grants: &[WireGrant]) -> bool {
    let (own, theirs) = (claim.meta.namespace(), asked.key().namespace());
    own == theirs || grants.iter().any(|grant| grant.namespace() == theirs && grants_it(grant, claim, asked))
}

fn grants_it(grant: &WireGrant, claim: &Claim, asked: &Asked) -> bool {
    let Some(source) = source(claim) else { return false };
    let group = source.api_group.as_deref().unwrap_or_default();
    let is_named = |to: &GrantTo| {
        let name = to.name.as_deref().unwrap_or_default();
        to.group == group && to.kind == source.kind && (name.is_empty() || name == asked.key().name())
    };
    grant.spec.to.iter().any(is_named)
        && grant.spec.from.iter().any(|from| {
            from.group.is_empty()
                && from.kind == "PersistentVolumeClaim"
                && from.namespace == claim.meta.namespace()
        })
}
