//! `mooring-driver`: the CSI driver's executable.

use driver::flags::{self, Role};

fn main() {
    let mut args = std::env::args();
    let program = args.next().unwrap_or_else(|| "mooring-driver".to_owned());
    let (role, logging) = flags::parse(&program, args).unwrap_or_else(|exit| exit.leave());
    base::log::init(logging.options());
    driver::raise_file_limit();
    if let Err(error) = driver::rights::give_back() {
        base::warn!("Cannot give back capabilities"; "err" => error);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(256)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .enable_all()
        .build()
        .unwrap_or_else(|error| base::log::exit(error, "Cannot start the runtime"));
    let outcome = match role {
        Role::Driver(options) => runtime.block_on(driver::serve(*options)),
        Role::Rbd(options) => runtime.block_on(driver::serve_rbd(*options)),
        Role::Proxy { endpoint, other } => runtime.block_on(driver::proxy(endpoint, other)),
    };
    // Calls that outlived the grace period must not hold the process.
    runtime.shutdown_background();
    if let Err(error) = outcome {
        base::log::exit(error, "The driver failed");
    }
}
