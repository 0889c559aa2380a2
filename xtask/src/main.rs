//! What a newcomer types: `cargo xtask up` and `cargo xtask test`.

mod dist;
mod fuzz;
mod image;
mod mutants;
mod sbom;
mod test;
mod tidy;
mod tool;
mod up;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  up [--once] [--backend=rbd]
                a Kubernetes control plane with our driver and sidecars, and a show of what they do;
                stays up for your own kubectl until Ctrl-C (--once: ends after the show, exit code 0 if all went well);
                --backend=rbd: volumes are images of a Ceph, which is started too
  test          format, lints, house rules and every test that this machine can run; says what it left out, and why
  tidy          the house rules alone (--names: lists the test names that are too long)
  fuzz [--seconds N [NAME]]
                gives each parser inputs that reach new code, 60 s each (cargo-fuzz and nightly Rust; not part of `test`)
  mutants [PART]
                breaks the code on purpose and says whether tests notice: at least 90 % must be (hours; not part of `test`)
  dist          the build that ships: static executables (adds Rust's musl target; needs musl-gcc, installs it as root)
  order         writes the list of functions that run, by which `dist` orders them to save memory (needs valgrind)
  image [FILE] [--platforms=all|NAME,…] [--twice]
                the container images in one OCI archive, of the build that ships, and their bill of materials; no container daemon
                is needed. Platforms are linux/amd64 and so on; those of other machines are cross-built, and run in qemu.
                --twice builds again in another folder and compares
  differences   writes docs/differences.md anew, from the `Differs:` notes in the code

The first run builds Kubernetes from the Go module proxy (Go 1.26 or newer; minutes on two cores). `up` takes etcd,
kube-apiserver and kube-controller-manager of the same minor release from KUBEBUILDER_ASSETS or PATH instead, and shows
the same on a simulated API server while it builds.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["up"] => up::run(false),
        ["up", "--once"] => up::run(true),
        ["up", "--backend=rbd"] => up::run_on_ceph(false),
        ["up", "--once", "--backend=rbd"] | ["up", "--backend=rbd", "--once"] => up::run_on_ceph(true),
        ["test"] => test::run(),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["mutants", rest @ ..] => mutants::run(rest),
        ["dist"] => dist::run(),
        ["order"] => dist::order(),
        // rustc calls this one, in `dist`.
        ["link", rest @ ..] => dist::link(rest),
        ["image", rest @ ..] => image::run(rest),
        ["tidy"] => tidy::run(),
        ["tidy", "--names"] => tidy::long_names(),
        ["differences"] => tidy::write_differences(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        [] => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
        _ => {
            eprint!("cargo xtask does not know `{}`\n\n{USAGE}", words.join(" "));
            ExitCode::from(2)
        }
    }
}
