//! What can be the name of an object.

/// Whether a text can be a namespace: at most 63 characters of `[a-z0-9-]`, no dash at either end.
pub fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_word(text)
}

/// Whether a text can be the name of an object of the kinds that sidecars read: at most 253 characters, words as in
/// [`is_label`] joined by dots.
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_word)
}

fn is_word(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether a text leads nowhere but to the object of that name when it is put into a path.
pub(crate) fn is_path_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '%', '?', '#'])
}
