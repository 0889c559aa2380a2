//! The status page for people: HTML without scripts, in one file.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::json::moment;
use super::view::{Item, Lane, Lease, Operation, Process, Stage, Status};

/// What the page may load and do: nothing but its own style.
pub const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:75rem;padding:0 1rem;\
color:#1c2430;background:#fff}h1{font-size:1.4rem;margin:0}h2{font-size:1.1rem;margin:1.8rem 0 .3rem}\
p{margin:.3rem 0}.soft{color:#5b6675}table{border-collapse:collapse;width:100%;margin:.4rem 0}\
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #dde3ea}\
th{font-weight:600;color:#5b6675;white-space:nowrap}td.number{text-align:right;white-space:nowrap}\
td.short{white-space:nowrap}.error{font:13px/1.4 ui-monospace,monospace;color:#a11212;overflow-wrap:anywhere}\
.leads{color:#0b6b2f;font-weight:600}.waits{color:#8a5a00;font-weight:600}";

/// The page as HTML.
pub fn render(status: &Status) -> String {
    let mut page = Page(String::with_capacity(8 * 1024));
    let process = &status.process;
    page.raw("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    page.text(&process.program).raw(" ").text(&process.driver);
    page.raw("</title><style>").raw(STYLE).raw("</style></head><body>\n<h1>");
    page.text(&process.program).raw(" <span class=\"soft\">v").raw(env!("CARGO_PKG_VERSION"));
    page.raw("</span></h1>\n<p class=\"soft\">As of ").text(moment(status.now));
    page.raw(". Reload for news; <a href=\"?format=json\">as JSON</a>.</p>\n");
    if let Some(only) = &status.only {
        page.raw("<p>Only <b>").text(only).raw("</b>; <a href=\"?\">everything</a>.</p>\n");
    }
    page.process(process);
    page.leases(&status.leases);
    let (idle, busy): (Vec<_>, Vec<_>) =
        status.operations.iter().partition(|operation| operation.lane.is_empty());
    busy.into_iter().for_each(|operation| page.operation(operation));
    let away: Vec<&Lease> = status.leases.iter().filter(|lease| !lease.leads).collect();
    page.elsewhere(&away);
    // A stand-by does not know what waits.
    let leads = away.is_empty() || away.len() < status.leases.len();
    if leads && !idle.is_empty() {
        let names: Vec<String> = idle.iter().map(|idle| title(idle)).collect();
        let heading = if away.is_empty() { "Nothing waits for" } else { "Nothing waits here for" };
        page.raw("<h2>").raw(heading).raw("</h2>\n<p>").text(names.join(", ")).raw("</p>\n");
    }
    page.raw("</body></html>\n");
    page.0
}

fn title(operation: &Operation) -> String {
    format!("{} {}", operation.purpose.operation, operation.purpose.kind)
}

fn holder(lease: &Lease) -> &str {
    lease.holder.as_deref().unwrap_or("nobody that is known")
}

/// HTML that is being written. Whatever comes from outside goes through [`Page::text`].
struct Page(String);

impl Page {
    fn raw(&mut self, html: &'static str) -> &mut Self {
        self.0.push_str(html);
        self
    }

    /// Text, escaped.
    fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to a String cannot fail.
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    fn row(&mut self, name: &'static str, text: impl Display) {
        self.raw("<tr><th>").raw(name).raw("</th><td>").text(text).raw("</td></tr>\n");
    }

    fn process(&mut self, process: &Process) {
        self.raw("<table>\n");
        if !process.driver.is_empty() {
            self.row("Driver", &process.driver);
        }
        if !process.sidecars.is_empty() {
            self.row("Sidecars", process.sidecars.join(", "));
        }
        if !process.capabilities.is_empty() {
            self.row("Capabilities", process.capabilities.join(", "));
        }
        for (name, text) in &process.facts {
            self.row(name, text);
        }
        self.raw("</table>\n");
    }

    fn leases(&mut self, leases: &[Lease]) {
        if leases.is_empty() {
            return;
        }
        self.raw("<h2>Who leads</h2>\n<table><tr><th>Lease</th><th>This process</th><th>Leader</th><th></th></tr>\n");
        for lease in leases {
            self.raw("<tr><td>").text(&lease.name).raw("</td><td>").text(&lease.identity).raw("</td><td>");
            self.text(holder(lease)).raw("</td><td>");
            self.raw(match lease.leads {
                true => "<span class=\"leads\">leads</span>",
                false => "<span class=\"waits\">does not lead</span>",
            });
            self.raw("</td></tr>\n");
        }
        self.raw("</table>\n");
    }

    /// Whom to ask about what these leases are for.
    fn elsewhere(&mut self, away: &[&Lease]) {
        if !away.is_empty() {
            self.raw("<h2>Does not lead</h2>\n");
        }
        for lease in away {
            self.raw("<p>").text(&lease.name).raw(": see ").text(holder(lease)).raw("</p>\n");
        }
    }

    fn operation(&mut self, operation: &Operation) {
        let lane = &operation.lane;
        self.raw("<h2>").text(title(operation)).raw(": ").text(lane.len()).raw("</h2>\n<p class=\"soft\">");
        self.text(format!(
            "{} wait for a worker, {} in work, {} wait for their next try (queue {})",
            lane.ready, lane.running, lane.paused, operation.queue
        ));
        self.raw("</p>\n");
        self.nodes(lane);
        self.raw("<table><tr><th>Object</th><th>Node</th><th>In queue for</th><th>State</th><th>Failures</th><th>Last failure</th></tr>\n");
        lane.items.iter().for_each(|item| self.item(item));
        self.raw("</table>\n");
        let more = lane.len().saturating_sub(lane.items.len());
        if more > 0 {
            self.raw("<p class=\"soft\">The oldest; ")
                .text(more)
                .raw(" more. One object: ?object=NAMESPACE/NAME</p>\n");
        }
    }

    fn nodes(&mut self, lane: &Lane) {
        if lane.nodes.is_empty() {
            return;
        }
        self.raw("<p>By node, the oldest first: ");
        for (index, node) in lane.nodes.iter().enumerate() {
            let oldest = human(node.oldest);
            self.raw(if index > 0 { "; " } else { "" });
            self.text(format_args!("{}: {} (oldest {oldest})", node.name, node.items));
        }
        self.raw("</p>\n");
    }

    fn item(&mut self, item: &Item) {
        self.raw("<tr><td>")
            .text(&item.object)
            .raw("</td><td>")
            .text(item.node.as_deref().unwrap_or_default());
        self.raw("</td><td class=\"short\">").text(human(item.age)).raw("</td><td class=\"short\">");
        match item.stage {
            Stage::Ready => self.raw("waits for a worker"),
            Stage::NodeBusy => self.raw("waits: its node uses its share"),
            Stage::Running => self.raw("in work"),
            Stage::Paused(left) => self.raw("next try in ").text(human(left)),
        };
        self.raw("</td><td class=\"number\">").text(item.failures).raw("</td><td>");
        if let Some((failure, ago)) = &item.failure {
            self.text(&failure.what).raw(" <span class=\"soft\">").text(human(*ago)).raw(" ago</span>");
            if !failure.error.is_empty() {
                self.raw("<div class=\"error\">").text(&failure.error).raw("</div>");
            }
        }
        self.raw("</td></tr>\n");
    }
}

/// Writes text so that it stays text in HTML.
struct Escaped<'a>(&'a mut String);

impl std::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                letter => self.0.push(letter),
            }
        }
        Ok(())
    }
}

/// A duration in two units at most.
fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if !duration.is_zero() => "less than 1s".to_owned(),
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (millis, expected) in [
            (0, "0s"),
            (20, "less than 1s"),
            (59_000, "59s"),
            (61_000, "1m1s"),
            (3_600_000, "1h0m"),
            (90_000_000, "1d1h"),
        ] {
            assert_eq!(human(Duration::from_millis(millis)), expected);
        }
    }
}
