//! How far the Leases of an earlier leader are read.

/// What is not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// The Leases from this number on. How often the API server has refused to show them.
    From(usize, u32),
    /// Everything is read.
    Nothing,
}

impl Default for Rest {
    fn default() -> Self {
        Self::From(0, 0)
    }
}

impl Rest {
    /// The same, refused once more.
    pub(super) fn refused(self) -> Self {
        match self {
            Self::From(page, refused) => Self::From(page, refused.saturating_add(1)),
            Self::Nothing => Self::Nothing,
        }
    }
}
