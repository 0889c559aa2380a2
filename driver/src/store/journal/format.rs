//! What the bytes of a journal mean.
//!
//! ```text
//! 5d3f... {"version":3}      since version 2
//! 91c0... [change, ...]      one line per batch of commits
//! ```
//! Each line begins with a checksum of its JSON, as 16 hex digits. A batch is one line, so that it is read
//! whole or not at all, whichever of its pages reached the disk.

use std::io;

use serde::{Deserialize, Serialize};

use super::super::record::Change;

/// The version that this driver writes. A driver that cannot read all that a later one writes must refuse
/// to start on it: raise this with every addition to [`Change`].
const VERSION: u32 = 3;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
}

/// Why a journal cannot be used. All of these are for a human to decide.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("a later version of this driver wrote it ({0}; this one reads up to {VERSION}): use that one")]
    Later(u32),
    #[error("byte {0} begins an intact line that this version of the driver cannot read")]
    Unknown(usize),
    #[error("damaged at byte {0}, with good lines behind")]
    Damaged(usize),
}

impl From<Unreadable> for io::Error {
    fn from(reason: Unreadable) -> Self {
        Self::new(io::ErrorKind::InvalidData, reason)
    }
}

enum Line {
    Header(u32),
    Changes(Vec<Change>),
    /// Its checksum is right, and its content says nothing to this version.
    Unknown,
    /// Its checksum is wrong: it was never acknowledged, or is damaged.
    Torn,
}

/// The line that every new journal begins with.
pub(super) fn header() -> io::Result<Vec<u8>> {
    Ok(line(&serde_json::to_vec(&Header { version: VERSION })?))
}

/// Changes as the inside of a batch: see [`batch`].
pub(super) fn changes(changes: &[Change]) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(changes)?;
    // Without the brackets.
    Ok(json.get(1..json.len().saturating_sub(1)).unwrap_or_default().to_vec())
}

/// One line for all these changes.
pub(super) fn batch(changes: &[u8]) -> Vec<u8> {
    line(&[b"[", changes, b"]"].concat())
}

fn line(json: &[u8]) -> Vec<u8> {
    let mut line = format!("{:016x} ", checksum(json)).into_bytes();
    line.extend_from_slice(json);
    line.push(b'\n');
    line
}

/// The changes of all whole lines, and where the last of them ends. What is behind is one torn line.
pub(super) fn parse(bytes: &[u8]) -> Result<(Vec<Change>, usize), Unreadable> {
    let mut all = Vec::new();
    let (mut end, mut position) = (0, 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match parse_line(line) {
            Line::Header(version) if version > VERSION => return Err(Unreadable::Later(version)),
            Line::Unknown => return Err(Unreadable::Unknown(position)),
            Line::Header(_) | Line::Changes(_) if end < position => return Err(Unreadable::Damaged(end)),
            Line::Torn => {}
            Line::Header(_) => end = position + line.len(),
            Line::Changes(changes) => {
                all.extend(changes);
                end = position + line.len();
            }
        }
        position += line.len();
    }
    Ok((all, end))
}

fn parse_line(line: &[u8]) -> Line {
    let Some(json) = intact(line) else { return Line::Torn };
    if let Ok(changes) = serde_json::from_slice(json) {
        return Line::Changes(changes);
    }
    match serde_json::from_slice(json) {
        Ok(Header { version }) => Line::Header(version),
        Err(_) => Line::Unknown,
    }
}

/// The JSON of a line, if its checksum is right.
fn intact(line: &[u8]) -> Option<&[u8]> {
    let (sum, json) = line.strip_suffix(b"\n")?.split_at_checked(16)?;
    let json = json.strip_prefix(b" ")?;
    let sum = u64::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    (sum == checksum(json)).then_some(json)
}

/// FNV-1a, 64 bits: enough to tell a torn line.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(id: &str) -> Change {
        Change::NoVolume(id.to_owned())
    }

    fn one(id: &str) -> Vec<u8> {
        batch(&changes(&[gone(id)]).unwrap())
    }

    /// The values that the algorithm's authors give. Another sum, and no driver reads what another version wrote.
    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(checksum(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(checksum(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(line(b"foobar"), b"85944171f73967e8 foobar\n");
    }

    #[test]
    fn publications_of_earlier_versions_are_of_no_known_boot() {
        let json = r#"[{"volume":{"id":"v","name":"n","data":"d","size":1,"access":"mount","staged":["/s"],
            "published":{"/t":{"readonly":true,"mode":1}}}}]"#
            .replace('\n', " ");
        let old = [line(br#"{"version":2}"#), line(json.as_bytes())].concat();
        let (read, _) = parse(&old).unwrap();
        let [Change::Volume(volume)] = read.as_slice() else { panic!("{read:?}") };
        assert_eq!((&volume.staged_in, &volume.published["/t"].boot), (&None, &None));
        assert!(volume.published["/t"].readonly && volume.staged.contains("/s"));
    }

    #[test]
    fn lines_of_both_versions_are_read() {
        let new = [header().unwrap(), one("a"), one("b")].concat();
        assert_eq!(parse(&new), Ok((vec![gone("a"), gone("b")], new.len())));
        let old = [one("a"), one("b")].concat();
        assert_eq!(parse(&old), Ok((vec![gone("a"), gone("b")], old.len())));
        assert_eq!(parse(b""), Ok((vec![], 0)));
    }

    #[test]
    fn an_intact_line_that_says_nothing_stops_the_start() {
        for unknown in [r#"[{"resize":"a"}]"#, r#"[{"volume":{"id":"a"}}]"#, "{}", "7"] {
            let bytes = [one("a"), line(unknown.as_bytes())].concat();
            assert_eq!(parse(&bytes), Err(Unreadable::Unknown(one("a").len())), "{unknown}");
        }
        let later = line(br#"{"version":4,"more":true}"#);
        assert_eq!(parse(&[later, one("a")].concat()), Err(Unreadable::Later(4)));
    }

    #[test]
    fn a_field_that_this_version_does_not_know_stops_the_start() {
        let json =
            r#"[{"group":{"id":"g","name":"g","snapshots":[],"volumes":[],"created":[0,0],"more":1}}]"#;
        assert_eq!(parse(&line(json.as_bytes())), Err(Unreadable::Unknown(0)));
    }

    #[test]
    fn damage_with_good_lines_behind_stops_the_start() {
        let mut bytes = [one("a"), one("b"), one("c")].concat();
        let at = one("a").len();
        bytes[at + 20] ^= 1;
        assert_eq!(parse(&bytes), Err(Unreadable::Damaged(at)));
    }
}
