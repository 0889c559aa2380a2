//! Fields of objects as the API server sends them. What is not there is empty.

use jiff::Timestamp;
use serde_json::Value;

/// The text at a JSON pointer.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at a JSON pointer.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether `true` stands at a JSON pointer.
pub(crate) fn is_true(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// The entry of a map whose key may hold a slash.
pub(crate) fn entry<'a>(object: &'a Value, map: &str, key: &str) -> Option<&'a str> {
    object.pointer(map)?.get(key)?.as_str()
}

/// An annotation; empty if there is none.
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    entry(object, "/metadata/annotations", key).unwrap_or_default()
}

/// The object's name.
pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The object's namespace.
pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// The object's uid.
pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// Since when the object is being deleted.
pub(crate) fn deleted(object: &Value) -> Option<Timestamp> {
    time(object, "/metadata/deletionTimestamp")
}

/// When the object was created.
pub(crate) fn created(object: &Value) -> Option<Timestamp> {
    time(object, "/metadata/creationTimestamp")
}

/// When a field was written last, as its manager says; `path` is such as `spec/resources`.
pub(crate) fn written(object: &Value, path: &str) -> Option<Timestamp> {
    let fields: String = path.split('/').map(|part| format!("/f:{part}")).collect();
    let has = |entry: &&Value| entry.pointer(&format!("/fieldsV1{fields}")).is_some();
    list(object, "/metadata/managedFields").iter().filter(has).filter_map(|entry| time(entry, "/time")).max()
}

/// The point in time at a JSON pointer.
pub(crate) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer).parse().ok()
}

/// The texts of the list at a JSON pointer.
pub(crate) fn texts<'a>(object: &'a Value, pointer: &str) -> Vec<&'a str> {
    list(object, pointer).iter().filter_map(Value::as_str).collect()
}

/// The object's finalizers.
pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    texts(object, "/metadata/finalizers")
}

/// The condition of this type in the object's status, if it is true.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let mut all = list(object, "/status/conditions").iter();
    all.find(|condition| text(condition, "/type") == kind && text(condition, "/status") == "True")
}

/// Names as a sentence has them: at most five, and how many more.
pub(crate) fn few(names: &[&str]) -> String {
    let mut named: Vec<String> = names.iter().take(5).map(|name| (*name).to_owned()).collect();
    match names.len() {
        0 => named.push("none".to_owned()),
        count if count > 5 => named.push(format!("{} more", count - 5)),
        _ => {}
    }
    named.join(", ")
}

/// A message of somebody else, on one line, cut to a kilobyte, and without what a terminal would obey, the direction of writing
/// included.
pub(crate) fn one_line(text: &str) -> String {
    const LONGEST: usize = 1024;
    let steers = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let text: String = text.chars().map(|letter| if steers(letter) { ' ' } else { letter }).collect();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_steer_the_terminal_or_fill_it() {
        assert_eq!(one_line("a\u{1b}[2J\nb\u{202e}c"), "a [2J b c");
        assert_eq!(one_line(&"x".repeat(5000)).chars().count(), 1025);
    }

    #[test]
    fn few_names_are_all_named() {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let counts = [0, 1, 5, 6, 7].map(|count| few(names.get(..count).unwrap()));
        assert_eq!(counts, ["none", "a", "a, b, c, d, e", "a, b, c, d, e, 1 more", "a, b, c, d, e, 2 more"]);
    }

    #[test]
    fn messages_cannot_command_the_terminal() {
        assert_eq!(one_line("a\n  b\u{1b}[31m\u{7}c\u{9b}x"), "a b [31m c x");
    }
}
