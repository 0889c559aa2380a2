//! `cargo run -p cluster --example binaries [NAME...]`: makes sure that the binaries exist and prints where they are.
//! Without names: what a control plane needs.

use std::process::ExitCode;

use cluster::binaries::{Binary, Progress, ensure};

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let mut wanted: Vec<Binary> =
        Binary::ALL.into_iter().filter(|binary| names.iter().any(|name| name == binary.name())).collect();
    if wanted.len() < names.len() {
        eprintln!("unknown name among {names:?}");
        return ExitCode::from(2);
    }
    if wanted.is_empty() {
        wanted = Binary::CONTROL_PLANE.to_vec();
    }
    match ensure(&wanted, &Progress::auto()) {
        Ok(binaries) => {
            for binary in wanted {
                println!("{}", binaries.path(binary).display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
