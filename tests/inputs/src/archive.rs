//! Archives that a Go driver left.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;

use driver::backend::hostpath::unpack::{is_archive, unpack};
use flate2::Compression;
use flate2::write::GzEncoder;

/// A tar entry without content: its name, type and link.
fn entry(name: &str, kind: u8, link: &str) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &[u8]| {
        header.iter_mut().skip(at).zip(text).for_each(|(place, byte)| *place = *byte);
    };
    put(0, name.as_bytes());
    for (at, number) in [(100, "0000644\0"), (108, "0000000\0"), (116, "0000000\0"), (124, "00000000000\0")] {
        put(at, number.as_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    header.iter_mut().skip(148).zip(sum.as_bytes()).for_each(|(place, byte)| *place = *byte);
    header.to_vec()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let entries = [
        entry("./", b'5', ""),
        entry("a/b", b'0', ""),
        entry("../out", b'0', ""),
        entry("link", b'2', "../.."),
        entry("link/x", b'0', ""),
        entry("hard", b'1', "/etc/hostname"),
        entry("pipe/p", b'6', ""),
    ];
    let all = entries.concat();
    entries.into_iter().chain([all]).collect()
}

/// A tar archive, packed, with the checksum of its first header mended.
///
/// # Panics
/// When something appears outside of the folder that it is unpacked into.
#[allow(clippy::expect_used, reason = "without a folder there is no test")]
pub fn archive(data: &[u8]) {
    let outside = tempfile::tempdir().expect("a folder");
    let inside = outside.path().join("inside");
    std::fs::create_dir(&inside).expect("a folder inside");
    let file = outside.path().join("archive");
    let packed = write(&file, &mended(data)).expect("a file");
    let _ = is_archive(&file);
    let _ = unpack(packed, &inside);
    let names: Vec<_> = std::fs::read_dir(outside.path()).expect("a folder").flatten().collect();
    assert_eq!(names.len(), 2, "unpacked outside: {names:?}");
}

fn write(path: &Path, data: &[u8]) -> std::io::Result<File> {
    let file = File::options().create_new(true).read(true).write(true).open(path)?;
    let mut encoder = GzEncoder::new(file, Compression::fast());
    encoder.write_all(data)?;
    let mut file = encoder.finish()?;
    file.rewind()?;
    Ok(file)
}

/// Every block of 512 bytes that looks like a header gets the checksum that it should have.
fn mended(data: &[u8]) -> Vec<u8> {
    let mut all = data.to_vec();
    for block in all.chunks_exact_mut(512).filter(|block| block.get(257..262) == Some(b"ustar")) {
        if let Some(place) = block.get_mut(148..156) {
            place.copy_from_slice(b"        ");
        }
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        if let Some(place) = block.get_mut(148..156) {
            place.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    // Two empty blocks end an archive.
    all.extend([0; 1024]);
    all
}
