//! One source file, its code apart from its comments.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// A file of the repository.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// From the repository's root, with `/`.
    pub(crate) path: String,
    /// Its text; empty for what is not text.
    pub(crate) text: String,
}

/// A run of comment text on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comment {
    /// Counted from 1.
    pub(crate) line: usize,
    /// `//`, `///`, `//!` or `/*`.
    pub(crate) kind: &'static str,
    /// What follows the mark, without its first space.
    pub(crate) text: String,
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Every file of the repository: those that git knows, and new ones that it does not ignore.
pub(crate) fn files() -> Result<Vec<Source>> {
    let root = root();
    let mut git = Command::new("git");
    git.current_dir(&root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().context("git ls-files cannot run")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let listed = String::from_utf8(output.stdout).context("git ls-files: a file name is not UTF-8")?;
    let read = |path: &str| {
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        Source { path: path.to_owned(), text }
    };
    // A file that is deleted and not yet committed is still listed.
    Ok(listed.lines().filter(|path| root.join(path).is_file()).map(read).collect())
}

impl Source {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether the whole file is for tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "benches" | "examples"))
    }

    /// The code with comments and the contents of strings blanked. Lines and columns stay.
    pub(crate) fn code(&self) -> String {
        Lexer::run(&self.text).code
    }

    /// [`Source::code`] without the items under `#[cfg(test)]`.
    pub(crate) fn code_without_tests(&self) -> String {
        without_tests(&self.code())
    }

    /// Every comment, line by line.
    pub(crate) fn comments(&self) -> Vec<Comment> {
        Lexer::run(&self.text).comments
    }
}

/// Blanks each item that stands under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut rest = code;
    let mut kept = String::with_capacity(code.len());
    while let Some((before, after)) = rest.split_once(MARK) {
        kept.push_str(before);
        let end = item_end(after);
        let (item, next) = after.split_at_checked(end).unwrap_or((after, ""));
        kept.extend(MARK.chars().map(|_| ' '));
        kept.extend(item.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }));
        rest = next;
    }
    kept.push_str(rest);
    kept
}

/// Where the item at the beginning of `code` ends: after its block, or after its semicolon (or comma, for a field).
fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, letter) in code.char_indices() {
        match letter {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && letter == '}' {
                    return at + 1;
                }
            }
            ';' | ',' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Splits a text into code and comments.
struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    code: String,
    comments: Vec<Comment>,
}

impl<'a> Lexer<'a> {
    fn run(text: &'a str) -> Lexer<'a> {
        let mut lexer =
            Lexer { text, at: 0, line: 1, code: String::with_capacity(text.len()), comments: Vec::new() };
        while let Some(letter) = lexer.rest().chars().next() {
            lexer.step(letter);
        }
        lexer
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn step(&mut self, letter: char) {
        let rest = self.rest();
        if rest.starts_with("//") {
            self.line_comment(rest);
        } else if rest.starts_with("/*") {
            self.block_comment(rest);
        } else if let Some(hashes) = raw_string(rest).filter(|_| !self.in_word()) {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').map_or(rest.len(), |quote| quote + 1);
            let body = rest.get(open..).unwrap_or_default();
            let length = body.find(&end).map_or(rest.len(), |found| open + found + end.len());
            self.blank(length);
        } else if letter == '"' {
            self.blank(string_length(rest, '"'));
        } else if letter == '\'' && is_char_literal(rest) {
            self.blank(string_length(rest, '\''));
        } else {
            self.keep(letter);
        }
    }

    /// Whether the last letter was of a word, so that an `r` now begins no raw string.
    fn in_word(&self) -> bool {
        self.code.chars().next_back().is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    }

    fn keep(&mut self, letter: char) {
        self.line += usize::from(letter == '\n');
        self.code.push(letter);
        self.at += letter.len_utf8();
    }

    /// Replaces the next `length` bytes by blanks, keeping the lines.
    fn blank(&mut self, length: usize) {
        let gone = self.rest().get(..length).unwrap_or_else(|| self.rest());
        for letter in gone.chars() {
            self.code.push(if letter == '\n' { '\n' } else { ' ' });
            self.line += usize::from(letter == '\n');
        }
        self.at += gone.len();
    }

    fn line_comment(&mut self, rest: &str) {
        let line = rest.lines().next().unwrap_or_default();
        let kind = if line.starts_with("//!") {
            "//!"
        } else if line.starts_with("///") && !line.starts_with("////") {
            "///"
        } else {
            "//"
        };
        let text = line.strip_prefix(kind).unwrap_or_default();
        let text = text.strip_prefix(' ').unwrap_or(text).to_owned();
        self.comments.push(Comment { line: self.line, kind, text });
        self.blank(line.len());
    }

    fn block_comment(&mut self, rest: &str) {
        let mut depth = 0_usize;
        let mut length = 0;
        while let Some(here) = rest.get(length..).filter(|here| !here.is_empty()) {
            let step = if here.starts_with("/*") {
                depth += 1;
                2
            } else if here.starts_with("*/") {
                depth -= 1;
                2
            } else {
                here.chars().next().map_or(1, char::len_utf8)
            };
            length += step;
            if depth == 0 {
                break;
            }
        }
        for (index, text) in rest.get(..length).unwrap_or(rest).lines().enumerate() {
            let text = text.trim_matches(|letter: char| letter.is_whitespace() || "/*".contains(letter));
            self.comments.push(Comment { line: self.line + index, kind: "/*", text: text.to_owned() });
        }
        self.blank(length);
    }
}

/// How many `#` a raw string that begins here has.
fn raw_string(rest: &str) -> Option<usize> {
    let after =
        rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
    let quoted = after.trim_start_matches('#');
    quoted.starts_with('"').then_some(after.len() - quoted.len())
}

/// The length of the literal that begins here, its quotes included.
fn string_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at + letter.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// Whether a `'` begins a character and not a lifetime.
fn is_char_literal(rest: &str) -> bool {
    let mut letters = rest.chars().skip(1);
    match letters.next() {
        Some('\\') => true,
        Some(_) => letters.next() == Some('\''),
        None => false,
    }
}

/// Whether `word` stands in `line` and is not part of a longer name.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

#[cfg(test)]
pub(crate) fn rust(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_are_not_code() {
        let text =
            "let a = \"x // y\"; // z \"\nlet b = r#\"q\"w\"#; /* c\n d */ let c = '\"'; let d: &'a str;";
        let code = rust("a.rs", text).code();
        assert_eq!(code.lines().count(), 3);
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words.join(" "), "let a = ; let b = ; let c = ; let d: &'a str;");
    }

    #[test]
    fn comments_keep_their_lines() {
        let comments = rust("a.rs", "//! one\n\n/// two\nfn a() {} // three\n").comments();
        let seen: Vec<_> = comments.iter().map(|it| (it.line, it.kind, it.text.as_str())).collect();
        assert_eq!(seen, [(1, "//!", "one"), (3, "///", "two"), (4, "//", "three")]);
    }

    #[test]
    fn test_items_are_left_out() {
        let text =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { c(); }\n}\n#[cfg(test)]\nmod d;\nfn e() {}\n";
        let code = rust("a.rs", text).code_without_tests();
        assert_eq!(code.split_whitespace().collect::<String>(), "fna(){}fne(){}");
        assert_eq!(code.lines().count(), 8);
    }
}
