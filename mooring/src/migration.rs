//! Runs `mooring migrate`.

use std::process::ExitCode;

/// Runs the command to its end.
pub(crate) fn run(args: Vec<String>) -> ExitCode {
    let parsed = match migrate::parse("mooring migrate", args) {
        Ok(parsed) => parsed,
        Err(exit) => exit.leave(),
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => ExitCode::from(runtime.block_on(migrate::main(&parsed))),
        Err(error) => {
            eprintln!("mooring migrate: cannot start the async runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
