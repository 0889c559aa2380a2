//! Secrets: which one a StorageClass names for a call, and its content, read when the call needs it.
//!
//! - [`reference`](fn@reference): the Secret that a class names for a [`Stage`], with templates resolved.
//! - [`strip_reserved`], [`fs_type`]: the other reserved parameters of a class.
//! - [`read`](fn@read): the content. Secrets are never listed, watched or cached.

mod parameter;
mod read;
mod template;

pub use parameter::{
    FsTypeError, ReferenceError, SecretRef, Stage, UnknownParameter, fs_type, reference, strip_reserved,
};
pub use read::{SecretError, read};
pub use template::{ClaimFacts, Facts, TemplateError};

#[cfg(test)]
mod tests;
