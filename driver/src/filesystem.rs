//! File systems on devices: what is on one, make one, mount it, grow it.
//!
//! The hostpath backend needs none of it, its folders are folders; backends whose volumes are devices
//! (rbd) stage them with these. Making and growing use the system's own tools (`mkfs.*`, `resize2fs`,
//! `xfs_growfs`), which know their file systems best.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::mount;

/// How much of a device must be zero for it to count as blank, in bytes.
const BLANK: usize = 128 * 1024;

/// A file system that this driver can make and grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsType {
    /// The default.
    Ext4,
    /// For large files.
    Xfs,
}

/// What is on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing: its beginning is zero.
    Nothing,
    /// One of ours.
    FileSystem(FsType),
    /// An XFS whose mkfs was killed, which nobody could ever mount: as good as nothing.
    Unfinished,
    /// Something else: it must not be overwritten.
    Other,
}

/// A device could not become a mounted file system.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// There is something else on the device.
    #[error("{device} holds {found} instead of {wanted}: it is not overwritten")]
    Occupied {
        /// The device.
        device: String,
        /// What is there.
        found: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// A tool failed, or is not installed.
    #[error("{tool} failed for {device}: {reason}")]
    Tool {
        /// The tool's name.
        tool: &'static str,
        /// The device.
        device: String,
        /// What it said.
        reason: String,
    },
    /// The system refused.
    #[error("{device}: {source}")]
    System {
        /// The device.
        device: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl FsType {
    /// The type by its name in `mount`; empty means ext4.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "" | "ext4" => Some(Self::Ext4),
            "xfs" => Some(Self::Xfs),
            _ => None,
        }
    }

    /// Its name in `mount`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// Looks at what is on a device.
///
/// # Errors
/// The system's.
pub fn look(device: &Path) -> io::Result<Found> {
    let file = File::open(device)?;
    let mut start = vec![0; BLANK];
    let mut filled = 0;
    while let Some(rest) = start.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(recognise(&start))
}

/// What a device begins with. Of XFS's superblock the byte 126 says that its mkfs still runs.
fn recognise(start: &[u8]) -> Found {
    // ext2, 3 and 4 share the magic; ours are made by mkfs.ext4, and ext4 mounts all three.
    match (start.get(0x438..0x43a), start.get(..4)) {
        (Some([0x53, 0xef]), _) => Found::FileSystem(FsType::Ext4),
        (_, Some(b"XFSB")) if start.get(126).is_some_and(|is_in_progress| *is_in_progress == 1) => {
            Found::Unfinished
        }
        (_, Some(b"XFSB")) => Found::FileSystem(FsType::Xfs),
        _ if start.iter().all(|byte| *byte == 0) => Found::Nothing,
        _ => Found::Other,
    }
}

/// Mounts a device at a folder; a blank device gets a file system first. A device with anything else on
/// it is never overwritten. Mounted already: nothing to do.
///
/// # Errors
/// [`FsError`].
pub fn format_and_mount(device: &Path, target: &Path, kind: FsType, options: &[&str]) -> Result<(), FsError> {
    let system = |source| FsError::System { device: device.display().to_string(), source };
    if mount::is_mounted(target).map_err(system)? {
        return Ok(());
    }
    // No blocks for root alone.
    format(device, kind, if kind == FsType::Ext4 { &["-m0"] } else { &[] })?;
    self::mount(device, target, kind, options)
}

/// Makes a file system on a blank device, with these options of mkfs. One of the kind may be there already; a device with
/// anything else on it is never overwritten.
///
/// # Errors
/// [`FsError`].
pub fn format(device: &Path, kind: FsType, options: &[&str]) -> Result<(), FsError> {
    if is_to_be_made(device, kind, false)? { make(device, kind, options) } else { Ok(()) }
}

/// Whether a device needs a file system; one of the kind may be there already. `is_begun`: a mkfs was begun on it, nobody has seen that
/// end, and nothing was mounted since; what a killed mkfs.ext4 leaves looks like anybody's data.
///
/// # Errors
/// [`FsError`]; a device with anything else on it is never overwritten.
pub fn is_to_be_made(device: &Path, kind: FsType, is_begun: bool) -> Result<bool, FsError> {
    let found =
        look(device).map_err(|source| FsError::System { device: device.display().to_string(), source })?;
    judge(found, kind, is_begun).map_err(|found| FsError::Occupied {
        device: device.display().to_string(),
        found,
        wanted: kind.name(),
    })
}

/// Decides whether a file system is to be made; or what is there instead.
fn judge(found: Found, kind: FsType, is_begun: bool) -> Result<bool, &'static str> {
    match found {
        Found::FileSystem(found) if found == kind => Ok(false),
        Found::FileSystem(found) => Err(found.name()),
        Found::Other if !is_begun => Err("unknown data"),
        Found::Other | Found::Nothing | Found::Unfinished => Ok(true),
    }
}

/// Mounts a device with a file system.
///
/// # Errors
/// [`FsError`].
pub fn mount(device: &Path, target: &Path, kind: FsType, options: &[&str]) -> Result<(), FsError> {
    let system = |source| FsError::System { device: device.display().to_string(), source };
    let known = mount::flags_of(options.iter().copied());
    let each = options.iter().flat_map(|element| element.split(','));
    let rest: Vec<&str> = each.filter(|option| mount::flags_of([*option]).is_empty()).collect();
    let data = CString::new(rest.join(",")).map_err(|error| system(error.into()))?;
    rustix::mount::mount(device, target, kind.name(), known, data.as_c_str())
        .map_err(|error| system(error.into()))
}

/// Lets a mounted file system use all of its device.
///
/// # Errors
/// [`FsError`].
pub fn grow(device: &Path, target: &Path, kind: FsType) -> Result<(), FsError> {
    match kind {
        FsType::Ext4 => run("resize2fs", &[], device, device),
        FsType::Xfs => run("xfs_growfs", &[], target, device),
    }
}

/// Makes a file system, whatever is on the device: see [`is_to_be_made`]. Two of these at once do not harm each other: mkfs wants the
/// device for itself.
///
/// # Errors
/// [`FsError`].
pub fn make(device: &Path, kind: FsType, options: &[&str]) -> Result<(), FsError> {
    match kind {
        // Whole devices without a question.
        FsType::Ext4 => run("mkfs.ext4", &[&["-q", "-F"], options].concat(), device, device),
        FsType::Xfs => {
            let found = look(device)
                .map_err(|source| FsError::System { device: device.display().to_string(), source })?;
            // Over what a killed mkfs left it wants to be told to.
            let over: &[&str] = if found == Found::Nothing { &["-q"] } else { &["-q", "-f"] };
            run("mkfs.xfs", &[over, options].concat(), device, device)
        }
    }
}

fn run(tool: &'static str, args: &[&str], on: &Path, device: &Path) -> Result<(), FsError> {
    let failed = |reason: String| FsError::Tool { tool, device: device.display().to_string(), reason };
    let output = Command::new(tool)
        .args(args)
        .arg(on)
        .output()
        .map_err(|error| failed(format!("{error}; is it installed?")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.lines().last().unwrap_or("no reason given").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_data_is_overwritten_only_where_a_mkfs_was_begun() {
        let (ext4, xfs) = (FsType::Ext4, FsType::Xfs);
        for (found, kind, is_begun, expected) in [
            (Found::Nothing, ext4, false, Ok(true)),
            (Found::Unfinished, xfs, false, Ok(true)),
            (Found::Unfinished, ext4, false, Ok(true)),
            (Found::Other, ext4, false, Err("unknown data")),
            (Found::Other, ext4, true, Ok(true)),
            // Somebody else may have made and used it: ceph-csi.
            (Found::FileSystem(ext4), ext4, true, Ok(false)),
            (Found::FileSystem(ext4), ext4, false, Ok(false)),
            (Found::FileSystem(xfs), ext4, true, Err("xfs")),
        ] {
            assert_eq!(judge(found, kind, is_begun), expected, "{found:?} {kind:?} {is_begun}");
        }
    }

    #[test]
    fn an_xfs_whose_mkfs_was_killed_is_made_anew() {
        let device = |entries: &[(usize, &[u8])]| {
            let mut start = vec![0; BLANK];
            for (at, bytes) in entries {
                start[*at..*at + bytes.len()].copy_from_slice(bytes);
            }
            recognise(&start)
        };
        for (entries, expected) in [
            (&[][..], Found::Nothing),
            (&[(0, b"XFSB".as_slice())], Found::FileSystem(FsType::Xfs)),
            (&[(0, b"XFSB".as_slice()), (126, &[1])], Found::Unfinished),
            (&[(0x438, [0x53, 0xef].as_slice())], Found::FileSystem(FsType::Ext4)),
            (&[(126, [1].as_slice())], Found::Other),
        ] {
            assert_eq!(device(entries), expected, "{entries:?}");
        }
    }
}
