//! The executable of all sidecars. The name it is called by (`argv[0]`), or its first argument, selects the
//! sidecar.
//!
//! ```text
//! csi-provisioner --csi-address=/run/csi/socket      a hard link or symbolic link to mooring
//! mooring csi-provisioner --csi-address=/run/csi/socket
//! mooring controller --controllers=provisioner,attacher   several in one process
//! mooring migrate --undo-file=before.jsonl           makes in-tree volumes CSI volumes
//! mooring explain pvc NAME                           why a claim is not ready; also as kubectl-mooring
//! mooring csidriver --once                           the driver's CSIDriver object
//! mooring --help
//! ```

mod command;
mod controller;
mod sidecar;

use std::process::ExitCode;

use sidecar::{Chosen, choose};

fn main() -> ExitCode {
    match choose(std::env::args_os()) {
        Chosen::Sidecar { sidecar, program, args } => sidecar.run(&program, args),
        Chosen::Migrate { args } => command::migrate(args),
        Chosen::Explain { program, args } => command::explain(&program, args),
        Chosen::CsiDriver { args } => command::csidriver(args),
        Chosen::Text { text, code: 0 } => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Chosen::Text { text, code } => {
            eprint!("{text}");
            ExitCode::from(code)
        }
    }
}
