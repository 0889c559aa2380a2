//! Whether an executable is static: it names no program interpreter, so the kernel starts it without any library.

/// The program header that names the interpreter (`ld.so`).
const INTERPRETER: u32 = 3;

/// Whether `file`, a 64-bit little-endian ELF, is static; `None` when it is no such file.
pub(super) fn is_static(file: &[u8]) -> Option<bool> {
    // Class 2 is 64 bits, data 1 is little-endian.
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(bytes(file, 32)?)).ok()?;
    let size = usize::from(u16::from_le_bytes(bytes(file, 54)?));
    let count = usize::from(u16::from_le_bytes(bytes(file, 56)?));
    let kinds = (0..count).map(|index| {
        let at = table.checked_add(index.checked_mul(size)?)?;
        Some(u32::from_le_bytes(bytes(file, at)?))
    });
    let kinds: Vec<u32> = kinds.collect::<Option<_>>()?;
    Some(!kinds.contains(&INTERPRETER))
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file that is nothing but its headers.
    fn file(kinds: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file.splice(0..6, *b"\x7fELF\x02\x01");
        file.splice(32..40, 64_u64.to_le_bytes());
        file.splice(54..56, 56_u16.to_le_bytes());
        file.splice(56..58, u16::try_from(kinds.len()).expect("few").to_le_bytes());
        for kind in kinds {
            file.extend(kind.to_le_bytes());
            file.extend([0; 52]);
        }
        file
    }

    #[test]
    fn an_interpreter_makes_it_dynamic() {
        assert_eq!(is_static(&file(&[1, 2])), Some(true));
        assert_eq!(is_static(&file(&[1, INTERPRETER])), Some(false));
    }

    #[test]
    fn a_truncated_or_foreign_file_is_neither() {
        assert_eq!(is_static(b"#!/bin/sh"), None);
        let whole = file(&[1, 2]);
        assert_eq!(is_static(whole.get(..whole.len() - 56).expect("shorter")), None);
    }
}
