//! Templates in a Secret's name and namespace: `${pvc.name}` and the like.

use std::collections::{BTreeMap, BTreeSet};

/// What a template may speak of.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// `${pv.name}`.
    pub volume_name: &'a str,
    /// The claim; none where only the volume is known.
    pub claim: Option<ClaimFacts<'a>>,
}

/// What a template may say of the claim.
#[derive(Debug, Clone, Copy)]
pub struct ClaimFacts<'a> {
    /// `${pvc.namespace}`.
    pub namespace: &'a str,
    /// `${pvc.name}`, in names only.
    pub name: &'a str,
    /// `${pvc.annotations['KEY']}`, in names only. None where they are not known: on deletion.
    pub annotations: Option<&'a BTreeMap<String, String>>,
}

/// Which part of a reference a template is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Name,
    Namespace,
}

/// Why a template has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It speaks of what nothing is known of here.
    #[error("unknown tokens {}: this value may use {known}", tokens.join(", "))]
    UnknownTokens {
        /// The tokens, quoted, in alphabetic order.
        tokens: Vec<String>,
        /// Those that may be used.
        known: &'static str,
    },
    /// A `${` without its end or without a name.
    #[error("a token that begins with ${{ has no name or no closing brace")]
    Braces,
}

/// Resolves a template in the manner of a shell: `${x}` and `$x`; a `$` before anything else
/// stays. Differs: `${}` and an open `${` are errors; upstream drops them from the text.
pub(super) fn resolve(template: &str, part: Part, facts: &Facts<'_>) -> Result<String, TemplateError> {
    let mut out = String::new();
    let mut unknown = BTreeSet::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (token, next) = token(after)?;
        match token {
            None => out.push('$'),
            Some(token) => match fact(token, part, facts) {
                Some(value) => out.push_str(value),
                None => {
                    unknown.insert(base::log::quote::quoted(token));
                }
            },
        }
        rest = next;
    }
    out.push_str(rest);
    if unknown.is_empty() {
        return Ok(out);
    }
    let known = match part {
        Part::Name => "pv.name, pvc.namespace, pvc.name, pvc.annotations['KEY']",
        Part::Namespace => "pv.name, pvc.namespace",
    };
    Err(TemplateError::UnknownTokens { tokens: unknown.into_iter().collect(), known })
}

/// The token at the start of what follows a `$`, and the text after it.
fn token(text: &str) -> Result<(Option<&str>, &str), TemplateError> {
    if let Some(braced) = text.strip_prefix('{') {
        let (name, after) = braced.split_once('}').ok_or(TemplateError::Braces)?;
        return if name.is_empty() { Err(TemplateError::Braces) } else { Ok((Some(name), after)) };
    }
    let special = |c: char| matches!(c, '*' | '#' | '$' | '@' | '!' | '?' | '-' | '0'..='9');
    let end = if text.starts_with(special) {
        1
    } else {
        text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len())
    };
    let (name, after) = text.split_at(end);
    Ok(((!name.is_empty()).then_some(name), after))
}

fn fact<'a>(token: &str, part: Part, facts: &Facts<'a>) -> Option<&'a str> {
    match token {
        "pv.name" => Some(facts.volume_name),
        "pvc.namespace" => facts.claim.map(|claim| claim.namespace),
        _ if part == Part::Namespace => None,
        "pvc.name" => facts.claim.map(|claim| claim.name),
        _ => {
            let key = token.strip_prefix("pvc.annotations['")?.strip_suffix("']")?;
            facts.claim?.annotations?.get(key).map(String::as_str)
        }
    }
}
