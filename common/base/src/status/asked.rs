//! What a request for the status page asks for.

/// The query of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The one object to show, as `NAMESPACE/NAME` or `NAME`; all without it.
    pub object: Option<String>,
    /// Whether JSON is wanted, not HTML.
    pub json: bool,
}

impl Asked {
    /// Reads a query: the text after `?`. Of a name that is there twice, the first counts. Other names are left out.
    pub fn parse(query: &str) -> Self {
        let value = |name: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        Self { object: value("object"), json: value("format").as_deref() == Some("json") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_names_object_and_form() {
        for (query, object, json) in [
            ("", None, false),
            ("format=json", None, true),
            ("format=html&object=ns%2Fa+b&object=c", Some("ns/a b"), false),
            ("object=&format=json", Some(""), true),
            ("objects=a&format", None, false),
        ] {
            assert_eq!(Asked::parse(query), Asked { object: object.map(str::to_owned), json }, "{query}");
        }
    }
}
