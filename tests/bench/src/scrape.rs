//! Metrics pages of what runs beside us.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The sum of a family's samples whose labels contain `labels`, on the page at `address` (`host:port`).
///
/// # Errors
/// Nobody answers, or the page has no such sample.
pub(crate) async fn sample(address: &str, family: &str, labels: &str) -> Result<f64> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("no metrics at {address}"))?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    sum(&page, family, labels).with_context(|| format!("{address} has no {family} with {labels:?}"))
}

fn sum(page: &str, family: &str, labels: &str) -> Option<f64> {
    let value = |line: &str| {
        let rest = line.strip_prefix(family)?;
        let ours = rest.starts_with(['{', ' ']) && rest.contains(labels);
        ours.then(|| rest.rsplit(' ').next()?.trim().parse::<f64>().ok()).flatten()
    };
    let values: Vec<f64> = page.lines().filter_map(value).collect();
    (!values.is_empty()).then(|| values.into_iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_family_are_summed_up() {
        let page = "# HELP a x\na{b=\"c\"} 1\na{b=\"d\"} 2.5\na_count{b=\"c\"} 9\nplain 3e2\r\n";
        assert_eq!(sum(page, "a", ""), Some(3.5));
        assert_eq!(sum(page, "a", "b=\"d\""), Some(2.5));
        assert_eq!(sum(page, "plain", ""), Some(300.0));
        assert_eq!(sum(page, "b", ""), None);
    }
}
