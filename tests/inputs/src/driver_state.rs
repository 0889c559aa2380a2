//! What the driver reads at its start.

use driver::store::Tables;
use driver::store::journal;

/// FNV-1a, as the lines of a journal begin with it.
fn checksum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The same lines with the checksums that they should have.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let line = |json: &[u8]| [format!("{:016x} ", checksum(json)).as_bytes(), json, b"\n"].concat();
    data.split(|byte| *byte == b'\n').flat_map(line).collect()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let lines = [
        r#"{"version":2}"#,
        r#"[{"volume":{"id":"a","name":"n","data":"d","size":1,"access":"mount","published":{"/t":{"readonly":true,"mode":1}}}}]"#,
        r#"[{"snapshot":{"id":"s","name":"n","data":"d","volume":"a","access":"block","size":1,"created":[0,0]}}]"#,
        r#"[{"group":{"id":"g","name":"n","snapshots":["s"],"volumes":["a"],"created":[0,0]}},{"no_snapshot":"s"}]"#,
        r#"[{"no_volume":"a"},{"no_group":"g"}]"#,
    ];
    let text = lines.join("\n").into_bytes();
    vec![with_checksums(&text), text]
}

/// A journal, and the same lines with good checksums.
///
/// # Panics
/// When the part that is called whole is not read as the whole was.
pub fn journal(data: &[u8]) {
    for bytes in [data.to_vec(), with_checksums(data)] {
        let Ok((changes, end)) = journal::changes_in(&bytes) else { continue };
        let whole = bytes.get(..end).unwrap_or_default();
        let again = journal::changes_in(whole).ok();
        assert_eq!(again, Some((changes.clone(), whole.len())), "{}", String::from_utf8_lossy(&bytes));
        let mut tables = Tables::default();
        changes.into_iter().for_each(|change| tables.apply(change));
    }
}
