//! `--cap MODE,TYPE[,FSTYPE[,FLAG…]]`.

use csi::v1::VolumeCapability;
use csi::v1::volume_capability::access_mode::Mode;
use csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};

/// Reads a capability. The mode is a name or a number, the type `block`, `mount`, `1` or `2`.
///
/// `Differs:` upstream demands a third field for mounts and leaves an unknown number's mode unset; ours
/// needs no third field and refuses the number.
pub(crate) fn parse(text: &str) -> Result<VolumeCapability, String> {
    let mut fields = text.split(',');
    let mode = mode(fields.next().unwrap_or_default())?;
    let access_type = match fields.next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "block" | "1" => AccessType::Block(BlockVolume {}),
        "mount" | "2" => AccessType::Mount(MountVolume {
            fs_type: fields.next().unwrap_or_default().to_owned(),
            mount_flags: fields.map(str::to_owned).collect(),
            ..MountVolume::default()
        }),
        other => return Err(format!("{other:?} is no access type: write block or mount")),
    };
    Ok(VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(access_type),
    })
}

fn mode(text: &str) -> Result<Mode, String> {
    let unknown =
        || format!("{text:?} is no access mode: write a name such as SINGLE_NODE_WRITER, or 0 to 7");
    match text.parse::<i32>() {
        Ok(number) => Mode::try_from(number).map_err(|_| unknown()),
        Err(_) => Mode::from_str_name(text).ok_or_else(unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_mean_the_same() {
        assert_eq!(parse("SINGLE_NODE_WRITER,block"), parse("1,BLOCK"));
        assert_eq!(parse("5,mount"), parse("MULTI_NODE_MULTI_WRITER,2,"));
        assert_eq!(parse("7,1").unwrap().access_mode.unwrap().mode(), Mode::SingleNodeMultiWriter);
    }

    #[test]
    fn fields_after_the_file_system_are_mount_flags() {
        let capability = parse("MULTI_NODE_MULTI_WRITER,mount,xfs,uid=500,gid=500").unwrap();
        let Some(AccessType::Mount(mount)) = capability.access_type else { panic!() };
        assert_eq!(
            (mount.fs_type.as_str(), &mount.mount_flags[..]),
            ("xfs", &["uid=500".into(), "gid=500".into()][..])
        );
    }

    #[test]
    fn words_that_mean_nothing_are_refused_by_name() {
        for (text, named) in [
            ("8,block", "8"),
            ("single_node_writer,block", "single_node_writer"),
            ("1,tape", "tape"),
            ("1", "access type"),
        ] {
            assert!(parse(text).unwrap_err().contains(named), "{text}");
        }
    }
}
