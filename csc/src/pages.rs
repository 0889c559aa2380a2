//! Pages of a list: as lines, as whole replies, or through a template.

use csi::Redact;

use crate::cli::Pages;
use crate::connection::Session;
use crate::failure::Failure;
use crate::output::{line, quoted, reply, value};
use crate::template::Template;

/// The template of `--format`.
pub(crate) fn template(pages: &Pages) -> Result<Option<Template>, Failure> {
    let parse =
        |text: &String| Template::parse(text).map_err(|error| Failure::Usage(format!("--format: {error}")));
    pages.format.as_ref().map(parse).transpose()
}

/// Prints one page: entry by entry while paging, else the reply and the token behind it.
pub(crate) fn page<R: Redact, E: Redact>(
    session: &Session,
    paging: bool,
    template: Option<&Template>,
    answer: &R,
    entries: &[E],
    token: &str,
    short: impl Fn(&E) -> String,
) -> Result<(), Failure> {
    let render = |template: &Template, data: &serde_json::Value| {
        template.render(data).map_err(|error| Failure::Usage(format!("--format: {error}")))
    };
    match (template, session.form) {
        (Some(template), _) if paging => {
            for entry in entries {
                line(&render(template, &value(entry))?);
            }
        }
        (Some(template), _) => line(&render(template, &value(answer))?),
        (None, Some(_)) => reply(session.form, answer, |_| String::new()),
        (None, None) => {
            entries.iter().for_each(|entry| line(&short(entry)));
            if !paging && !token.is_empty() {
                line(&format!("token={}", quoted(token)));
            }
        }
    }
    Ok(())
}
