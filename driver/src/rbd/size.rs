//! The size of an image: ceph-csi's rounding.

use csi::v1;

use crate::refusal::Refusal;

const MEBIBYTE: u64 = 1 << 20;
const GIBIBYTE: u64 = 1 << 30;

/// The size that is made for a range: 1 GiB unless one is asked for; below 1 GiB whole MiB, else whole GiB.
///
/// Differs: a limit is honoured. If whole GiB are above it whole MiB are tried; ceph-csi ignores the limit.
///
/// # Errors
/// OUT_OF_RANGE when nothing whole fits below the limit.
pub(crate) fn size(range: &v1::CapacityRange) -> Result<u64, Refusal> {
    let required = u64::try_from(range.required_bytes).unwrap_or(0);
    let limit = u64::try_from(range.limit_bytes).ok().filter(|limit| *limit > 0).unwrap_or(i64::MAX as u64);
    let wanted = if required == 0 { GIBIBYTE.min(limit / MEBIBYTE * MEBIBYTE) } else { required };
    let fits = |unit: u64| wanted.checked_next_multiple_of(unit).filter(|size| *size <= limit && *size > 0);
    let usual = if wanted < GIBIBYTE { MEBIBYTE } else { GIBIBYTE };
    fits(usual).or_else(|| fits(MEBIBYTE)).ok_or_else(|| {
        Refusal::Size(format!("images have whole MiB, and none lies between {required} and {limit} bytes"))
    })
}

/// Whether an image that is there satisfies a range.
pub(crate) fn satisfies(size: u64, range: &v1::CapacityRange) -> bool {
    let bound = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    size >= bound(range.required_bytes) && (range.limit_bytes == 0 || size <= bound(range.limit_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_as_ceph_csi_does_up_to_the_limit() {
        let (mib, gib) = (1_i64 << 20, 1_i64 << 30);
        for (required, limit, expected) in [
            (0, 0, Some(gib)),
            (1, 0, Some(mib)),
            (mib, 0, Some(mib)),
            (mib + 1, 0, Some(2 * mib)),
            (gib - 1, 0, Some(gib)),
            (gib, 0, Some(gib)),
            (gib + 1, 0, Some(2 * gib)),
            (gib + 1, gib + mib, Some(gib + mib)),
            (gib + 1, gib + 2, None),
            (1, 2, None),
            (0, 5 * mib + 1, Some(5 * mib)),
            (0, 10 * gib, Some(gib)),
            (0, 5, None),
            (i64::MAX, 0, None),
        ] {
            let range = v1::CapacityRange { required_bytes: required, limit_bytes: limit };
            let found = size(&range).ok().map(|size| i64::try_from(size).unwrap());
            assert_eq!(found, expected, "{required} {limit}");
            assert!(found.is_none_or(|found| satisfies(u64::try_from(found).unwrap(), &range)));
        }
    }
}
