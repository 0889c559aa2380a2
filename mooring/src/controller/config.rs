//! The file that `--config` names: a YAML mapping from flags to their values. It is checked strictly.

use serde_json::{Map, Value};
use thiserror::Error;

use base::flag::{Exit, FlagSet};

/// Why the file cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ConfigError {
    #[error("--config={path}: {reason}")]
    Read { path: String, reason: String },
    #[error("--config={path}: it must be a mapping from names of flags to values: {reason}")]
    Shape { path: String, reason: String },
    #[error(
        "--config={path}: there is no flag {name:?}; names are those of the command line, without dashes"
    )]
    Unknown { path: String, name: String },
    #[error("--config={path}: {name}: write a text, a number, true or false, or a list or mapping of these")]
    Value { path: String, name: String },
    #[error(
        "--config={path}: {name}: put the text in quotes, so that YAML does not read it as a number or as true or false"
    )]
    Text { path: String, name: String },
}

/// The end of a process whose file has a value that its flag does not take. The last line says which; before it stands the usage.
pub(crate) fn refused(path: &str, exit: &Exit) -> Exit {
    Exit::refuse(format!("--config={path}: {}", exit.stderr.lines().last().unwrap_or_default()))
}

/// What the file says, as words of a command line.
pub(crate) fn words(path: &str, known: &FlagSet) -> Result<Vec<String>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Read { path: path.to_owned(), reason: error.to_string() })?;
    from_yaml(path, &text, known)
}

fn from_yaml(path: &str, text: &str, known: &FlagSet) -> Result<Vec<String>, ConfigError> {
    let path = || path.to_owned();
    // As in YAML 1.2: `on` and `n` are texts.
    let options = serde_saphyr::options! { strict_booleans: true };
    let mapping: Map<String, Value> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
            ConfigError::Shape { path: path(), reason }
        })?;
    let mut words = Vec::new();
    for (name, value) in mapping {
        // A file that names another file would be read in part only.
        if !known.knows(&name) || name == "config" {
            return Err(ConfigError::Unknown { path: path(), name });
        }
        if known.takes_text(&name) && (value.is_boolean() || value.is_number()) {
            return Err(ConfigError::Text { path: path(), name });
        }
        let Some(value) = flat(&name, &value) else { return Err(ConfigError::Value { path: path(), name }) };
        words.push(format!("--{name}={value}"));
    }
    Ok(words)
}

/// A value as the command line has it: lists with commas, mappings as `key=value` with commas (labels as `key:value`).
fn flat(name: &str, value: &Value) -> Option<String> {
    let between = if name.ends_with("-labels") { ':' } else { '=' };
    match value {
        Value::Array(items) => {
            items.iter().map(scalar).collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
        Value::Object(pairs) => {
            let pair = |(key, value)| scalar(value).map(|value| format!("{key}{between}{value}"));
            pairs.iter().map(pair).collect::<Option<Vec<_>>>().map(|pairs| pairs.join(","))
        }
        value => scalar(value),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use base::flag::Dialect;
    use base::flag::standard::StandardFlags;

    use super::*;

    fn read(text: &str) -> Result<Vec<String>, ConfigError> {
        let mut known = FlagSet::new("p", Dialect::Posix);
        known.group::<StandardFlags>().add::<String>("config", "", "");
        known.feature_gates(&[]);
        from_yaml("f", text, &known)
    }

    #[test]
    fn values_become_words() {
        let words = read(
            "v: 5\nleader-election: true\nhttp-endpoint: \":80\"\nfeature-gates: {A: true, B: false}\nleader-election-labels: {a: b}\n",
        );
        let mut words = words.unwrap();
        words.sort();
        let expected = [
            "--feature-gates=A=true,B=false",
            "--http-endpoint=:80",
            "--leader-election-labels=a:b",
            "--leader-election=true",
            "--v=5",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn text_is_taken_as_it_is_written_or_refused() {
        assert_eq!(read("metrics-path: n").unwrap(), ["--metrics-path=n"]);
        let labels = read("leader-election-labels: {env: on, stage: \"1e5\"}").unwrap();
        assert_eq!(labels, ["--leader-election-labels=env:on,stage:1e5"]);
        for value in ["1e5", "0x10", "true", "8080"] {
            let error = read(&format!("metrics-path: {value}")).unwrap_err().to_string();
            assert!(error.contains("--config=f: metrics-path: put the text in quotes"), "{value}: {error}");
        }
    }

    #[test]
    fn file_that_cannot_be_used_is_refused_with_its_name() {
        let error = |text| read(text).unwrap_err().to_string();
        assert!(error("worker-threads: 1").contains("--config=f: there is no flag \"worker-threads\""));
        assert!(error("config: other").contains("there is no flag \"config\""));
        assert!(error("- v").contains("it must be a mapping"));
        assert!(error("v: 1\nv: 2").contains("it must be a mapping"), "a name that stands twice");
        assert!(error("v:").contains("--config=f: v: write a text"));
        assert!(error("v: [[1]]").contains("--config=f: v: write a text"));
        assert!(
            words("/no/such/file", &FlagSet::new("p", Dialect::Posix))
                .unwrap_err()
                .to_string()
                .contains("/no/such/file")
        );
    }
}
