//! Where the intents are kept.

/// The Leases that hold the intents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Their namespace.
    pub namespace: String,
    /// Their names, without the number at the end.
    pub name: String,
}

impl Place {
    /// The name of the Lease with this number.
    pub(super) fn lease(&self, page: usize) -> String {
        format!("{}-{page}", self.name)
    }
}
