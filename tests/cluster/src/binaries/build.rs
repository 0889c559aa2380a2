//! Builds one binary with `go build` from a module of ours, in the cache folder, under a lock.

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::error::BinariesError;
use super::progress::Progress;
use super::recipe::{Binary, Recipe, Stamp};
use crate::guard;

/// One of the binaries to build.
pub(super) struct Step {
    pub(super) binary: Binary,
    pub(super) number: usize,
    pub(super) of: usize,
    /// How often progress is shown.
    pub(super) interval: Duration,
}

impl Step {
    fn line(&self, what: &str, since: Instant) -> String {
        let Step { binary, number, of, .. } = self;
        format!("building {} ({number} of {of}): {what}, {} s", binary.name(), since.elapsed().as_secs())
    }
}

/// Builds `step.binary` as `file`. When another process is at it, waits for that one and takes its result.
pub(super) fn build(step: &Step, file: &Path, progress: &Progress) -> Result<(), BinariesError> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let cache = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| BinariesError::Cache { path, source }
    };
    std::fs::create_dir_all(folder).map_err(cache(folder))?;
    let lock = folder.join("lock");
    let _held = wait_for_lock(step, &lock, progress).map_err(cache(&lock))?;
    if file.is_file() {
        return Ok(());
    }
    let module = folder.join("module");
    write_module(step.binary, &module).map_err(cache(&module))?;
    let partial = folder.join(format!("{}.partial", step.binary.name()));
    let started = Instant::now();
    run_go(step, &module, &partial, progress, started)?;
    // Only a whole binary ever has the final name.
    std::fs::rename(&partial, file).map_err(cache(file))?;
    progress.note(&step.line("done", started));
    Ok(())
}

/// Our module's files, where `go` can read them.
fn write_module(binary: Binary, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let module = binary.recipe().module;
    std::fs::write(folder.join("go.mod"), module.go_mod)?;
    std::fs::write(folder.join("go.sum"), module.go_sum)?;
    match module.program {
        Some(program) => std::fs::write(folder.join("main.go"), program),
        None => Ok(()),
    }
}

/// Takes the lock; it is released when the file is closed, also by the death of this process.
fn wait_for_lock(step: &Step, path: &Path, progress: &Progress) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    let started = Instant::now();
    let mut shown = None;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if shown.is_none_or(|at: Instant| at.elapsed() >= step.interval) {
            progress.tick(&step.line("waiting for another process that builds", started));
            shown = Some(Instant::now());
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Resolves and downloads what the binary is made of, then builds it.
fn run_go(
    step: &Step,
    module: &Path,
    output: &Path,
    progress: &Progress,
    started: Instant,
) -> Result<(), BinariesError> {
    let mut list = go(module);
    list.args(["list", "-deps", "-f", "{{.ImportPath}}"]).arg(step.binary.recipe().package);
    let packages = follow(step, list, |said| match said.downloaded {
        0 => progress.tick(&step.line("resolving", started)),
        count => progress.tick(&step.line(&format!("{count} modules downloaded"), started)),
    })?;
    let mut build = go(module);
    build
        .args(["build", "-v", "-ldflags", &linker_flags(step.binary), "-o"])
        .arg(output)
        .arg(step.binary.recipe().package);
    follow(step, build, |said| {
        // What an earlier build left in Go's cache is not compiled again, so the end may come sooner.
        let text = format!("{} of at most {} packages compiled", said.packages, packages.packages);
        progress.tick(&step.line(&text, started));
    })
    .map(|_| ())
}

/// `go` in our module. The caller's own workspace or flags must not change what is built; proxy, cache and the rest stay
/// theirs.
fn go(module: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .env("GOWORK", "off");
    go
}

/// What a running `go` said.
#[derive(Debug, Default)]
struct Said {
    /// Modules that it downloaded.
    downloaded: usize,
    /// Packages that it named: listed, or compiled.
    packages: usize,
    /// Its last words, for when it fails.
    last: VecDeque<String>,
}

/// Runs `command` to its end, calling `show` as often as the progress wants it.
fn follow(step: &Step, mut command: Command, show: impl Fn(&Said)) -> Result<Said, BinariesError> {
    let binary = step.binary.name();
    let failed = |output: String| BinariesError::Build { binary, output };
    // A group of its own, with its compilers: it ends when this process does.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|source| BinariesError::NoGo { binary, source })?;
    guard::watch(child.id());
    give_way(&child);
    let (lines, from_go) = mpsc::channel();
    if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
        forward(stdout, lines.clone());
        forward(stderr, lines);
    }
    let mut said = Said::default();
    let mut next = Instant::now();
    loop {
        match from_go.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(line) if line.starts_with("go: downloading ") => said.downloaded += 1,
            Ok(line) => {
                said.packages += 1;
                said.last.push_back(line);
                if said.last.len() > 25 {
                    said.last.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                show(&said);
                next = Instant::now() + step.interval;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let ended = child.wait();
    guard::forget(child.id());
    match ended {
        Ok(status) if status.success() => Ok(said),
        Ok(_) => Err(failed(Vec::from(said.last).join("\n"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// A build takes minutes of every core: what somebody waits for at the terminal goes first.
fn give_way(child: &Child) {
    let pid = Some(Pid::from_child(child));
    // Where it cannot be said, the build is only less polite.
    if let Ok(now) = rustix::process::getpriority_process(pid) {
        let _ = rustix::process::setpriority_process(pid, now.max(10));
    }
}

/// Sends the lines of a pipe from a thread of its own.
fn forward(pipe: impl io::Read + Send + 'static, lines: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
}

/// No symbols (a third of the size), and the version. With these flags changes `FLAGS_VERSION` in `recipe.rs`.
fn linker_flags(binary: Binary) -> String {
    let Recipe { module, stamp, .. } = binary.recipe();
    let release = module.release();
    let minor = release.split('.').nth(1).unwrap_or_default();
    let mut flags = vec!["-s".to_owned(), "-w".to_owned()];
    match stamp {
        Stamp::InCode => {}
        Stamp::Variable(name) => flags.push(format!("-X {name}={release}")),
        Stamp::Kubernetes => {
            for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
                let values = [
                    ("gitVersion", release),
                    ("gitMajor", "1"),
                    ("gitMinor", minor),
                    ("gitCommit", "unknown"),
                    ("gitTreeState", "clean"),
                    ("buildDate", "1970-01-01T00:00:00Z"),
                ];
                flags.extend(values.iter().map(|(name, value)| format!("-X {package}.{name}={value}")));
            }
        }
    }
    flags.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_its_version() {
        let flags = linker_flags(Binary::ApiServer);
        assert!(flags.contains("-X k8s.io/component-base/version.gitVersion=v1.37.2"), "{flags}");
        assert!(flags.contains("-X k8s.io/client-go/pkg/version.gitMinor=37"), "{flags}");
        assert_eq!(linker_flags(Binary::CsiAttacher), "-s -w -X main.version=v4.13.0");
        assert_eq!(linker_flags(Binary::Etcd), "-s -w");
    }

    #[test]
    fn writes_the_module_as_it_is_in_the_repository() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let module = folder.path().join("module");
        write_module(Binary::CsiSanity, &module).expect("written");
        let text = std::fs::read_to_string(module.join("go.mod")).expect("there");
        assert!(text.starts_with("module mooring.invalid/sanity\n"), "{text}");
    }
}
