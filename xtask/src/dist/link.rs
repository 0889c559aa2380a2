//! The linker of the build that ships. rustc calls it in place of `cc`; it calls `cc` with what makes executables small in memory:
//! the order of `ran.txt`, and relocations in few bytes.
//!
//! It links with LLVM's linker, which comes with Rust and can order functions. Without it the executable is linked as
//! usual: it works as well, and needs more memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::order::Ran;
use crate::tool::root;

/// The end of the name of the twin that has its symbols, beside each executable.
pub(super) const WITH_SYMBOLS: &str = "symbols";

/// The list of what ran.
pub(super) fn list() -> PathBuf {
    root().join("xtask/src/dist/ran.txt")
}

/// Writes the program that rustc takes for a linker: this one, called with `link`.
///
/// # Errors
/// It cannot be written.
pub(super) fn program(folder: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let this = std::env::current_exe().context("this executable has no path")?;
    let file = folder.join("ordered-cc");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&file, script(&this)))
        .context("target folder")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).context("target folder")?;
    Ok(file)
}

fn script(this: &Path) -> String {
    let quoted = this.display().to_string().replace('\'', r"'\''");
    format!("#!/bin/sh\nexec '{quoted}' link \"$@\"\n")
}

/// Links as rustc asks, with the functions in order; and once more with the symbols.
///
/// # Errors
/// The linker fails; its own message is printed already.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let Some(lld) = lld().filter(|lld| lld.is_dir()) else {
        eprintln!("this toolchain has no LLVM linker: the functions stay in the order of the compiler");
        return cc(arguments, &[]);
    };
    let output =
        arguments.iter().skip_while(|word| **word != "-o").nth(1).context("no -o in a linker's arguments")?;
    let order = format!("{output}.order");
    let ran = Ran::read(&std::fs::read_to_string(list()).unwrap_or_default());
    let symbols = symbols(arguments)?;
    let ordered = ran.order(symbols.iter().map(String::as_str));
    std::fs::write(&order, ordered.join("\n")).with_context(|| format!("cannot write {order}"))?;
    let mut more = vec![
        "-fuse-ld=lld".to_owned(),
        format!("-B{}", lld.display()),
        "-Wl,-z,pack-relative-relocs".to_owned(),
        format!("-Wl,--symbol-ordering-file={order}"),
        "-Wl,--no-warn-symbol-ordering".to_owned(),
    ];
    cc(arguments, &more)?;
    // The last output wins.
    more.extend(["-o".to_owned(), format!("{output}.{WITH_SYMBOLS}")]);
    let unstripped: Vec<&str> = arguments.iter().copied().filter(|word| !word.contains("--strip-")).collect();
    cc(&unstripped, &more)
}

fn cc(arguments: &[&str], more: &[String]) -> Result<()> {
    let status = Command::new("cc").args(arguments).args(more).status().context("cc cannot run")?;
    if !status.success() {
        bail!("cc cannot link (above)");
    }
    Ok(())
}

/// The names of the functions in the objects and archives among `arguments`.
fn symbols(arguments: &[&str]) -> Result<Vec<String>> {
    let is_code = |word: &&&str| word.ends_with(".o") || word.ends_with(".rlib") || word.ends_with(".a");
    let files = arguments.iter().filter(is_code);
    let mut nm = Command::new("nm");
    nm.args(["--defined-only", "--quiet", "--format=posix"]).args(files);
    let said = nm.output().context("nm cannot run; it comes with binutils, as the linker does")?;
    Ok(functions(&String::from_utf8_lossy(&said.stdout)))
}

/// The functions of what `nm --format=posix` says: `NAME TYPE …` a line.
fn functions(said: &str) -> Vec<String> {
    let function = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        matches!(words.next()?, "t" | "T" | "w" | "W").then(|| name.to_owned())
    };
    said.lines().filter_map(function).collect()
}

/// Where the toolchain has `ld.lld`.
fn lld() -> Option<PathBuf> {
    let said = |what: &[&str]| {
        let said = Command::new("rustc").args(what).output().ok()?;
        String::from_utf8(said.stdout).ok()
    };
    let host = said(&["--version", "--verbose"])?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: "))?;
    Some(Path::new(said(&["--print", "sysroot"])?.trim()).join("lib/rustlib").join(host).join("bin/gcc-ld"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_nm_says_only_functions_are_taken() {
        let said = "\n/a/b.rlib[c.o]:\n_RNvC1a1f t 0 10\nDATA d 8 8\nmemcpy W 0 20\nGCC_except_table1 r 0\n";
        assert_eq!(functions(said), ["_RNvC1a1f", "memcpy"]);
    }

    #[test]
    fn the_linker_is_this_program_wherever_it_stands() {
        assert_eq!(script(Path::new("/a b/it's")), "#!/bin/sh\nexec '/a b/it'\\''s' link \"$@\"\n");
    }
}
