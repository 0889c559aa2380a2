//! Metrics pages of what runs beside us.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The sum of a family's samples whose labels contain `labels`, on the page at `address` (`host:port`).
///
/// # Errors
/// Nobody answers, or the page has no such sample.
pub(crate) async fn sample(address: &str, family: &str, labels: &str) -> Result<f64> {
    let page = page(address).await?;
    sum(&page, family, labels).with_context(|| format!("{address} has no {family} with {labels:?}"))
}

/// The samples of a family that have a label of this name, each with its labels.
///
/// # Errors
/// Nobody answers.
pub(crate) async fn labelled(
    address: &str,
    family: &str,
    label: &str,
) -> Result<Vec<(BTreeMap<String, String>, f64)>> {
    let page = page(address).await?;
    let mut found: Vec<_> = page.lines().filter_map(|line| parsed(line, family)).collect();
    found.retain(|(labels, _)| labels.contains_key(label));
    Ok(found)
}

/// A line's labels and value. No label of ours has a quote in its value.
fn parsed(line: &str, family: &str) -> Option<(BTreeMap<String, String>, f64)> {
    let (labels, value) = line.strip_prefix(family)?.strip_prefix('{')?.rsplit_once("} ")?;
    let pair = |word: &str| {
        let (name, value) = word.split_once("=\"")?;
        Some((name.trim_start_matches(',').to_owned(), value.to_owned()))
    };
    let labels = labels.split_terminator('"').collect::<Vec<_>>();
    let pairs = labels.chunks(2).filter_map(|chunk| pair(&format!("{}\"{}", chunk.first()?, chunk.get(1)?)));
    Some((pairs.collect(), value.trim().parse().ok()?))
}

async fn page(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("no metrics at {address}"))?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
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

    #[test]
    fn labels_of_a_sample_are_told_apart() {
        let line = "calls_count{driver=\"d\",method=\"/csi.v1.Controller/CreateVolume\",code=\"OK\"} 12";
        let (labels, value) = parsed(line, "calls_count").expect("a sample");
        assert_eq!((labels.len(), value), (3, 12.0));
        assert_eq!(labels.get("method").map(String::as_str), Some("/csi.v1.Controller/CreateVolume"));
        assert_eq!(parsed("calls_count 3", "calls_count"), None);
        assert_eq!(parsed("calls_counted{a=\"b\"} 3", "calls_count"), None);
    }
}
