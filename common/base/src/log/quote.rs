//! Go's `%q`: the one way upstream quotes text in log lines and flag errors.

use std::fmt::Write as _;

/// Appends `text` in Go's double-quoted form (`strconv.Quote`): quotes, backslashes and
/// everything that does not print are escaped, printable Unicode stays as it is.
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if prints(c) => out.push(c),
            c => push_escape(out, c as u32),
        }
    }
    out.push('"');
}

/// `text` in Go's double-quoted form.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

fn prints(c: char) -> bool {
    c == ' ' || !(c.is_control() || c.is_whitespace())
}

fn push_escape(out: &mut String, code: u32) {
    // Writing to a String cannot fail.
    let _ = match code {
        0..=0x7f => write!(out, "\\x{code:02x}"),
        0x80..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        for (text, want) in [
            ("plain", "\"plain\""),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\t\n\r", r#""\t\n\r""#),
            ("\x07\x08\x0b\x0c", r#""\a\b\v\f""#),
            ("\x00\x7f", r#""\x00\x7f""#),
            ("grün µs 世", "\"grün µs 世\""),
            ("\u{a0}\u{85}", r#""\u00a0\u0085""#),
        ] {
            assert_eq!(quoted(text), want);
        }
    }
}
