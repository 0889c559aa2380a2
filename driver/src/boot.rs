//! Which boot of the node this is.

/// Where Linux shows a random id of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// This boot's id; none if the system shows none, and then a publication is judged by what is seen.
pub(crate) fn id() -> Option<String> {
    let text = std::fs::read_to_string(BOOT_ID).inspect_err(|error| {
        base::warn!("Cannot tell this boot from others"; "err" => error, "file" => BOOT_ID);
    });
    text.ok().map(|text| text.trim().to_owned()).filter(|id| !id.is_empty())
}
