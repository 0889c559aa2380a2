//! Runs what is no sidecar: `mooring migrate` and `mooring csidriver`.

use std::process::ExitCode;

use base::flag::{Exit, Parsed};

/// Runs `mooring migrate` to its end.
pub(crate) fn migrate(args: Vec<String>) -> ExitCode {
    run("mooring migrate", migrate::parse("mooring migrate", args), migrate::main)
}

/// Runs `mooring csidriver`.
pub(crate) fn csidriver(args: Vec<String>) -> ExitCode {
    run("mooring csidriver", csidriver::parse("mooring csidriver", args), csidriver::main)
}

fn run(name: &str, parsed: Result<Parsed, Exit>, main: impl AsyncFn(&Parsed) -> u8) -> ExitCode {
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
