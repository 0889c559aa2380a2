//! Runs what is no sidecar: `mooring migrate`, `mooring explain` and `mooring csidriver`.

use std::process::ExitCode;

use base::flag::Exit;

/// Runs `mooring migrate` to its end.
pub(crate) fn migrate(args: Vec<String>) -> ExitCode {
    run("mooring migrate", migrate::parse("mooring migrate", args), migrate::main)
}

/// Runs `mooring explain`, which the user called by this name.
pub(crate) fn explain(program: &str, args: Vec<String>) -> ExitCode {
    run("mooring explain", explain::parse(program, args), explain::main)
}

/// Runs `mooring csidriver`.
pub(crate) fn csidriver(args: Vec<String>) -> ExitCode {
    run("mooring csidriver", csidriver::parse("mooring csidriver", args), csidriver::main)
}

fn run<P>(name: &str, parsed: Result<P, Exit>, main: impl AsyncFn(&P) -> u8) -> ExitCode {
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(exit) => exit.leave(),
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => ExitCode::from(runtime.block_on(main(&parsed))),
        Err(error) => {
            eprintln!("{name}: cannot start the async runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
