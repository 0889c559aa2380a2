//! `key=val[,key=val…]` lists, and the secrets' line in the environment.

use std::collections::BTreeMap;

/// A map given as `key=val,key=val`; an item without `=` has an empty value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pairs(pub(crate) BTreeMap<String, String>);

/// Reads one list.
pub(crate) fn parse(text: &str) -> Result<Pairs, String> {
    let items = text.split(',').filter(|item| !item.is_empty());
    Ok(Pairs(items.map(pair).collect()))
}

/// Joins the lists of a flag that was given several times; later ones win.
pub(crate) fn joined(lists: &[Pairs]) -> BTreeMap<String, String> {
    lists.iter().flat_map(|pairs| pairs.0.clone()).collect()
}

fn pair(item: &str) -> (String, String) {
    let (key, value) = item.split_once('=').unwrap_or((item, ""));
    (key.to_owned(), value.to_owned())
}

/// Reads `X_CSI_SECRETS`: one CSV line of key=val, where quotes allow commas and outer blanks.
pub(crate) fn secrets(line: &str) -> Result<BTreeMap<String, String>, String> {
    let fields = csv(line)?;
    Ok(fields.iter().filter(|field| !field.is_empty()).map(|field| pair(field)).collect())
}

fn csv(line: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.trim().chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, quoted) {
            ('"', true) if letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            ('"', _) => quoted = !quoted,
            (',', false) => fields.push(std::mem::take(&mut field)),
            (' ', false) if field.is_empty() => {}
            (other, _) => field.push(other),
        }
    }
    if quoted {
        return Err("X_CSI_SECRETS has a quote that is not closed".to_owned());
    }
    fields.push(field);
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_and_later_values_win() {
        let lists = [parse("a=1,b").unwrap(), parse("a=2,c=x=y").unwrap()];
        let joined = joined(&lists);
        let expected = [("a", "2"), ("b", ""), ("c", "x=y")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(joined, expected.into());
    }

    #[test]
    fn quotes_let_secrets_hold_commas_and_blanks() {
        let secrets = secrets(r#"user=me, "password=a,b "," key= c""#).unwrap();
        assert_eq!(secrets.get("password").map(String::as_str), Some("a,b "));
        assert_eq!(secrets.get("user").map(String::as_str), Some("me"));
        assert_eq!(secrets.get(" key").map(String::as_str), Some(" c"));
    }

    #[test]
    fn open_quote_is_refused_without_its_content() {
        let error = secrets("\"user=hush").unwrap_err();
        assert!(!error.contains("hush"), "{error}");
    }
}
