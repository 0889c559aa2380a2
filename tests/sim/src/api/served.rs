//! What an older API server serves otherwise than this model.

use serde_json::Value;

use super::discovery;

/// What an older API server does not serve as this one does.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// Plurals that do not exist.
    hidden: Vec<String>,
    /// Plurals that exist as v1beta1, and not as v1.
    beta: Vec<String>,
}

impl Served {
    pub(crate) fn hide(&mut self, plural: &str) {
        self.hidden.push(plural.to_owned());
    }

    pub(crate) fn serve_as_beta(&mut self, plural: &str) {
        self.beta.push(plural.to_owned());
    }

    pub(crate) fn is_hidden(&self, plural: &str) -> bool {
        self.hidden.iter().any(|name| name == plural)
    }

    fn is_beta(&self, plural: &str) -> bool {
        self.beta.iter().any(|name| name == plural)
    }

    /// The path at which this model keeps what `path` asks for.
    pub(crate) fn kept_at(&self, path: &str) -> String {
        for plural in &self.beta {
            let (beta, stable) = (format!("/v1beta1/{plural}"), format!("/v1/{plural}"));
            if path.contains(&beta) {
                return path.replacen(&beta, &stable, 1);
            }
            if path.contains(&stable) {
                return "/nowhere".to_owned();
            }
        }
        path.to_owned()
    }

    /// The discovery document at `path`; `None` if there is none.
    pub(crate) fn document(&self, path: &str) -> Option<Value> {
        match path.strip_suffix("/v1beta1") {
            Some(group) if !self.beta.is_empty() => {
                discovery::document(&format!("{group}/v1"), &|resource| !self.is_beta(resource.plural))
            }
            Some(_) | None => discovery::document(path, &|resource| {
                self.is_hidden(resource.plural) || self.is_beta(resource.plural)
            }),
        }
    }
}
