//! The part of Go's text/template that `--format` is used with.
//!
//! Text, `{{.Field.Field}}`, `{{range .List}}…{{else}}…{{end}}`, `{{if .Field}}…{{else}}…{{end}}`,
//! `{{with .Field}}…{{end}}`, `{{range $key, $value := .Map}}`, variables, `len`, `index`, `printf` with
//! `%s %q %d %v`, string literals, and `{{-`/`-}}` trimming. Fields are named as in Go: `VolumeId` or
//! `GetVolume` style names find the specification's `volume_id`. A field that is not set prints as nothing.

use serde_json::Value;

use crate::output::quoted;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Show(Vec<Word>),
    Block { kind: Kind, head: Vec<Word>, names: Vec<String>, body: Vec<Piece>, otherwise: Vec<Piece> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Range,
    If,
    With,
}

#[derive(Debug, Clone, PartialEq)]
enum Word {
    /// `.A.B`; empty for the dot itself.
    Field(Vec<String>),
    /// `$name.A.B`.
    Variable(String, Vec<String>),
    Literal(Value),
    Function(String),
}

type Variables = Vec<(String, Value)>;

impl Template {
    /// Reads a template; the error says what is not understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = tokens(text)?.into_iter();
        let (pieces, end) = pieces(&mut tokens)?;
        if end == Stop::Text {
            Ok(Self(pieces))
        } else {
            Err("{{end}} or {{else}} without a block".to_owned())
        }
    }

    /// Fills the template.
    pub(crate) fn render(&self, data: &Value) -> Result<String, String> {
        let mut out = String::new();
        render(&self.0, data, &mut vec![("$".to_owned(), data.clone())], &mut out)?;
        Ok(out)
    }
}

enum Token {
    Text(String),
    Action(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut out, mut rest, mut trim) = (Vec::new(), text, false);
    while let Some(open) = rest.find("{{") {
        let (mut before, after) =
            (rest.get(..open).unwrap_or_default(), rest.get(open + 2..).unwrap_or_default());
        let close = after.find("}}").ok_or("{{ without }}")?;
        let mut action = after.get(..close).unwrap_or_default();
        if trim {
            before = before.trim_start();
        }
        if let Some(inner) = action.strip_prefix("- ") {
            (action, before) = (inner, before.trim_end());
        }
        trim = action.ends_with(" -");
        action = action.strip_suffix(" -").unwrap_or(action);
        out.push(Token::Text(unescaped(before)));
        out.push(Token::Action(action.trim().to_owned()));
        rest = after.get(close + 2..).unwrap_or_default();
    }
    out.push(Token::Text(unescaped(if trim { rest.trim_start() } else { rest })));
    Ok(out)
}

/// Shells rarely pass a TAB: `\t` and `\n` are meant.
fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Text,
    End,
    Else,
}

fn pieces(tokens: &mut std::vec::IntoIter<Token>) -> Result<(Vec<Piece>, Stop), String> {
    let mut out = Vec::new();
    while let Some(token) = tokens.next() {
        let action = match token {
            Token::Text(text) => {
                out.push(Piece::Text(text));
                continue;
            }
            Token::Action(action) => action,
        };
        match action.as_str() {
            "end" => return Ok((out, Stop::End)),
            "else" => return Ok((out, Stop::Else)),
            comment if comment.starts_with("/*") => {}
            other => out.push(piece(other, tokens)?),
        }
    }
    Ok((out, Stop::Text))
}

fn piece(action: &str, tokens: &mut std::vec::IntoIter<Token>) -> Result<Piece, String> {
    let (first, rest) = action.split_once(' ').unwrap_or((action, ""));
    let kind = match first {
        "range" => Kind::Range,
        "if" => Kind::If,
        "with" => Kind::With,
        _ => return Ok(Piece::Show(words(action)?)),
    };
    let (names, head) = match rest.split_once(":=") {
        Some((names, head)) => (names.split(',').map(|name| name.trim().to_owned()).collect(), head),
        None => (Vec::new(), rest),
    };
    let (body, end) = pieces(tokens)?;
    let otherwise = match end {
        Stop::End => Vec::new(),
        Stop::Else => {
            let (otherwise, end) = pieces(tokens)?;
            if end != Stop::End {
                return Err(format!("{{{{{action}}}}} has no {{{{end}}}}"));
            }
            otherwise
        }
        Stop::Text => return Err(format!("{{{{{action}}}}} has no {{{{end}}}}")),
    };
    Ok(Piece::Block { kind, head: words(head)?, names, body, otherwise })
}

fn words(text: &str) -> Result<Vec<Word>, String> {
    let (mut out, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let (word, length) = if rest.starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            match values.next() {
                Some(Ok(value)) => (Word::Literal(value), values.byte_offset()),
                _ => return Err(format!("{rest}: a quote is not closed")),
            }
        } else {
            let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (word(rest.get(..length).unwrap_or_default())?, length)
        };
        out.push(word);
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    if out.is_empty() { Err("an action is empty".to_owned()) } else { Ok(out) }
}

fn word(text: &str) -> Result<Word, String> {
    let path =
        |text: &str| text.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    if text.starts_with('.') {
        return Ok(Word::Field(path(text)));
    }
    if text.starts_with('$') {
        let (name, fields) = text.split_once('.').unwrap_or((text, ""));
        return Ok(Word::Variable(name.to_owned(), path(fields)));
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Word::Literal(number.into()));
    }
    match text {
        "len" | "index" | "printf" | "print" | "println" | "not" => Ok(Word::Function(text.to_owned())),
        "true" | "false" => Ok(Word::Literal((text == "true").into())),
        other => Err(format!("{other:?} is not understood here")),
    }
}

fn render(pieces: &[Piece], dot: &Value, variables: &mut Variables, out: &mut String) -> Result<(), String> {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Show(words) => out.push_str(&shown(&evaluate(words, dot, variables)?)),
            Piece::Block { kind, head, names, body, otherwise } => {
                let value = evaluate(head, dot, variables)?;
                if !is_true(&value) {
                    render(otherwise, dot, variables, out)?;
                    continue;
                }
                match kind {
                    Kind::If => render(body, dot, variables, out)?,
                    Kind::With => render(body, &value, variables, out)?,
                    Kind::Range => range(&value, names, body, variables, out)?,
                }
            }
        }
    }
    Ok(())
}

fn range(
    value: &Value,
    names: &[String],
    body: &[Piece],
    variables: &mut Variables,
    out: &mut String,
) -> Result<(), String> {
    let items: Vec<(Value, Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(n, item)| (n.into(), item.clone())).collect(),
        Value::Object(map) => map.iter().map(|(key, item)| (key.as_str().into(), item.clone())).collect(),
        _ => return Err("range needs a list or a map".to_owned()),
    };
    for (key, item) in items {
        let known = variables.len();
        match names {
            [only] => variables.push((only.clone(), item.clone())),
            [first, second, ..] => {
                variables.push((first.clone(), key));
                variables.push((second.clone(), item.clone()));
            }
            [] => {}
        }
        render(body, &item, variables, out)?;
        variables.truncate(known);
    }
    Ok(())
}

fn evaluate(words: &[Word], dot: &Value, variables: &Variables) -> Result<Value, String> {
    let (Some(first), rest) = (words.first(), words.get(1..).unwrap_or_default()) else {
        return Ok(Value::Null);
    };
    let arguments: Result<Vec<Value>, String> =
        rest.iter().map(|word| evaluate(std::slice::from_ref(word), dot, variables)).collect();
    match first {
        Word::Literal(value) => Ok(value.clone()),
        Word::Field(path) => Ok(descend(dot, path)),
        Word::Variable(name, path) => {
            let found = variables.iter().rev().find(|(known, _)| known == name);
            found.map(|(_, value)| descend(value, path)).ok_or_else(|| format!("{name} is not set"))
        }
        Word::Function(name) => call(name, &arguments?),
    }
}

/// Follows Go's field names into a value: `VolumeId`, `GetVolumeId` and `volume_id` are the same.
fn descend(value: &Value, path: &[String]) -> Value {
    let mut found = value;
    for name in path {
        let plain = |name: &str| name.chars().filter(|c| *c != '_').collect::<String>().to_ascii_lowercase();
        let wanted = plain(name);
        let getter = wanted.strip_prefix("get").unwrap_or(&wanted).to_owned();
        let next = found.as_object().and_then(|fields| {
            let find = |wanted: &str| fields.iter().find(|(known, _)| plain(known) == wanted);
            fields.get(name).or_else(|| find(&wanted).or_else(|| find(&getter)).map(|(_, value)| value))
        });
        match next {
            Some(next) => found = next,
            None => return Value::Null,
        }
    }
    found.clone()
}

fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    match (name, arguments) {
        ("len", [value]) => Ok(match value {
            Value::Array(items) => items.len(),
            Value::Object(map) => map.len(),
            other => shown(other).len(),
        }
        .into()),
        ("index", [value, key]) => Ok(match key {
            Value::Number(n) => {
                value.get(usize::try_from(n.as_u64().unwrap_or(u64::MAX)).unwrap_or(usize::MAX))
            }
            other => value.get(shown(other)),
        }
        .cloned()
        .unwrap_or_default()),
        ("not", [value]) => Ok((!is_true(value)).into()),
        ("print", all) => Ok(all.iter().map(shown).collect::<String>().into()),
        ("println", all) => Ok(format!("{}\n", all.iter().map(shown).collect::<Vec<_>>().join(" ")).into()),
        ("printf", [Value::String(format), rest @ ..]) => Ok(formatted(format, rest).into()),
        _ => Err(format!("{name} is called with the wrong arguments")),
    }
}

fn formatted(format: &str, arguments: &[Value]) -> String {
    let (mut out, mut arguments, mut letters) = (String::new(), arguments.iter(), format.chars());
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let verb = letters.next();
        match (verb, verb.filter(|verb| *verb != '%').and_then(|_| arguments.next())) {
            (Some('%'), _) => out.push('%'),
            (Some('q'), Some(value)) => out.push_str(&quoted(&shown(value))),
            (Some(_), Some(value)) => out.push_str(&shown(value)),
            (Some(verb), None) => out.push_str(&format!("%!{verb}(MISSING)")),
            (None, _) => out.push('%'),
        }
    }
    out
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{key}:{}", shown(value)));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fill(template: &str, data: Value) -> String {
        Template::parse(template).unwrap().render(&data).unwrap()
    }

    #[test]
    fn fields_are_found_by_their_go_names() {
        let entry = json!({"volume": {"volume_id": "v1", "capacity_bytes": 7}});
        assert_eq!(fill("{{.Volume.VolumeId}}\\t{{.Volume.CapacityBytes}}", entry), "v1\t7");
    }

    #[test]
    fn lists_maps_and_conditions() {
        let reply = json!({"entries": [{"volume": {"volume_id": "a"}}, {"volume": {"volume_id": "b"}}], "next_token": "t"});
        let template = "{{range .Entries}}{{with .Volume}}{{printf \"%q\" .VolumeId}} {{end}}{{else}}none{{end}}{{if .NextToken}}more{{end}}";
        assert_eq!(fill(template, reply), "\"a\" \"b\" more");
        assert_eq!(fill(template, json!({})), "none");
        let map = json!({"volume_context": {"k": "v"}});
        assert_eq!(
            fill("{{range $k, $v := .VolumeContext}}{{$k}}={{$v}}{{end}}{{len .VolumeContext}}", map),
            "k=v1"
        );
    }

    #[test]
    fn blanks_are_trimmed_where_asked() {
        assert_eq!(fill("a {{- .X -}} b", json!({"x": 1})), "a1b");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (template, text) in
            [("{{.A", "}}"), ("{{range .A}}x", "end"), ("{{foo .A}}", "foo"), ("{{end}}", "without")]
        {
            assert!(Template::parse(template).unwrap_err().contains(text), "{template}");
        }
    }
}
