//! What an answer consists of.

use jiff::Timestamp;

use crate::tries::Try;

/// Who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Who made the claim, the pod or the snapshot.
    Owner,
    /// Who runs the cluster.
    Admin,
    /// Who runs the driver and what is behind it.
    Storage,
    /// A program that runs already.
    Nobody,
}

impl Who {
    /// For programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Storage => "storage",
            Self::Nobody => "nobody",
        }
    }

    /// In words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Owner => "the owner of the claim, pod or snapshot",
            Self::Admin => "the administrator of the cluster",
            Self::Storage => "the administrator of the CSI driver and its storage",
            Self::Nobody => "nobody: it goes on by itself",
        }
    }
}

/// One reason why an object is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// One word for programs; docs/explain.md lists them.
    pub(crate) cause: &'static str,
    /// What has happened.
    pub(crate) happened: String,
    /// What it waits for.
    pub(crate) waits: String,
    /// Since when.
    pub(crate) since: Option<Timestamp>,
    /// Who must act.
    pub(crate) who: Who,
    /// The exact error, as somebody has written it into an event or a status.
    pub(crate) error: Option<String>,
    /// The commands to run.
    pub(crate) run: Vec<String>,
}

impl Finding {
    /// A reason: what has happened, and what is waited for.
    pub(crate) fn new(
        cause: &'static str,
        who: Who,
        happened: impl Into<String>,
        waits: impl Into<String>,
    ) -> Self {
        let (happened, waits) = (happened.into(), waits.into());
        Self { cause, happened, waits, since: None, who, error: None, run: Vec::new() }
    }

    /// Since when.
    pub(crate) fn since(mut self, since: Option<Timestamp>) -> Self {
        self.since = self.since.or(since);
        self
    }

    /// The exact error; an earlier one stays.
    pub(crate) fn error(mut self, error: Option<String>) -> Self {
        self.error = self.error.or(error.filter(|error| !error.is_empty()));
        self
    }

    /// A command to run.
    pub(crate) fn run(mut self, command: impl Into<String>) -> Self {
        self.run.push(command.into());
        self
    }
}

/// The answer about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its kind, as in objects.
    pub(crate) kind: &'static str,
    /// Its namespace; empty if it has none.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// What it is now, in a few words.
    pub(crate) state: String,
    /// Why it is not ready, the most important reason first. None: it is ready.
    pub(crate) findings: Vec<Finding>,
    /// What sidecars say of it on their status pages.
    pub(crate) tries: Vec<Try>,
    /// What could not be read, and what would let us read it.
    pub(crate) unread: Vec<String>,
    /// When time alone may change the answer.
    pub(crate) again: Option<Timestamp>,
}
