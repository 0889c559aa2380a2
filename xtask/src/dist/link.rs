//! The linker of the build that ships. rustc calls it in place of `cc`; it calls `cc` with what makes executables small in memory:
//! the order of `ran.txt`, and relocations in few bytes.
//!
//! It links with LLVM's linker, which comes with Rust and can order functions. Where that, or `nm`, or a compiler that can call it is missing, the
//! executable is linked as usual: it works as well, and needs more memory. `dist` says which it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::order::Ran;
use crate::tool::root;

/// The end of the name of the twin that has its symbols, beside each executable.
pub(super) const WITH_SYMBOLS: &str = "symbols";

/// The end of the name of the file that has its functions in order, beside each executable.
pub(super) const ORDER: &str = "order";

/// The list of what ran.
pub(super) fn list() -> PathBuf {
    root().join("xtask/src/dist/ran.txt")
}

/// Writes the program that rustc takes for a linker: this one, called with `link` and the linker that would have been taken.
///
/// # Errors
/// It cannot be written.
pub(super) fn program(folder: &Path, linker: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("this executable has no path")?;
    let file = folder.join("ordered-cc");
    std::fs::create_dir_all(folder).context("target folder")?;
    write_program(&file, &script(&this, linker))?;
    Ok(file)
}

/// Writes a script that can be run.
///
/// # Errors
/// It cannot be written.
pub(super) fn write_program(file: &Path, script: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let written = std::fs::write(file, script)
        .and_then(|()| std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)));
    written.with_context(|| format!("cannot write {}", file.display()))
}

fn script(this: &Path, linker: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    format!("#!/bin/sh\nexec {} link {} \"$@\"\n", quoted(&this.display().to_string()), quoted(linker))
}

/// Links as rustc asks, with the functions in order; and once more with the symbols. The first of the words is the linker.
///
/// # Errors
/// The linker fails; its own message is printed already.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let (linker, arguments) = words.split_first().context("no linker is named")?;
    let output =
        arguments.iter().skip_while(|word| **word != "-o").nth(1).context("no -o in a linker's arguments")?;
    let order = format!("{output}.{ORDER}");
    match in_order(linker, arguments, output, &order) {
        Ok(()) => Ok(()),
        Err(why) => {
            eprintln!("not in order: {why:#}");
            // It would say otherwise.
            let _ = std::fs::remove_file(&order);
            call(linker, arguments, &[])
        }
    }
}

fn in_order(linker: &str, arguments: &[&str], output: &str, order: &str) -> Result<()> {
    let lld = lld().filter(|lld| lld.is_dir()).context("this toolchain has no LLVM linker")?;
    let ran = Ran::read(&std::fs::read_to_string(list()).context("no list of what runs")?);
    let symbols = symbols(arguments)?;
    let ordered = ran.order(symbols.iter().map(String::as_str));
    std::fs::write(order, ordered.join("\n")).with_context(|| format!("cannot write {order}"))?;
    let mut more = vec![
        "-fuse-ld=lld".to_owned(),
        format!("-B{}", lld.display()),
        "-Wl,-z,pack-relative-relocs".to_owned(),
        format!("-Wl,--symbol-ordering-file={order}"),
        "-Wl,--no-warn-symbol-ordering".to_owned(),
    ];
    call(linker, arguments, &more)?;
    // The last output wins.
    more.extend(["-o".to_owned(), format!("{output}.{WITH_SYMBOLS}")]);
    let unstripped: Vec<&str> = arguments.iter().copied().filter(|word| !word.contains("--strip-")).collect();
    call(linker, &unstripped, &more)
}

fn call(linker: &str, arguments: &[&str], more: &[String]) -> Result<()> {
    let status = Command::new(linker).args(arguments).args(more).status();
    if !status.with_context(|| format!("{linker} cannot run"))?.success() {
        bail!("{linker} cannot link (above)");
    }
    Ok(())
}

/// The names of the functions in the objects and archives among `arguments`.
fn symbols(arguments: &[&str]) -> Result<Vec<String>> {
    let is_code = |word: &&&str| word.ends_with(".o") || word.ends_with(".rlib") || word.ends_with(".a");
    let files = arguments.iter().filter(is_code);
    let mut nm = Command::new("nm");
    nm.args(["--defined-only", "--format=posix"]).args(files);
    let said = nm.output().context("nm cannot run; it comes with binutils, as the linker does")?;
    // It complains about what is in an archive beside objects, and names the rest all the same.
    let functions = functions(&String::from_utf8_lossy(&said.stdout));
    if functions.is_empty() {
        bail!("nm names no function: {}", String::from_utf8_lossy(&said.stderr).trim());
    }
    Ok(functions)
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
        assert_eq!(
            script(Path::new("/a b/it's"), "musl-gcc"),
            "#!/bin/sh\nexec '/a b/it'\\''s' link 'musl-gcc' \"$@\"\n"
        );
    }

    #[test]
    fn what_cannot_be_put_in_order_is_linked_as_usual() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = folder.path().join("program");
        // A linker that knows no LLVM linker and notes what it is asked for.
        let linker = folder.path().join("linker");
        let refuses = "#!/bin/sh\ncase \"$*\" in *-fuse-ld*) exit 1;; esac\necho \"$@\" > \"$2\"\n";
        write_program(&linker, refuses).expect("written");
        let words = [linker.to_str().expect("text"), "-o", output.to_str().expect("text"), "-static"];
        run(&words).expect("linked");
        let said = std::fs::read_to_string(&output).expect("linked");
        assert_eq!(said.trim(), words[1..].join(" "));
        assert!(!folder.path().join("program.order").exists(), "it is not in order");
    }
}
