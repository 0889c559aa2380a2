//! A real browser: Debian's Chromium, without a window.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::packages;
use crate::skip::{Lack, left_out};

/// The browser, and a font for it.
pub const PACKAGES: [&str; 2] = ["chromium-headless-shell", "fonts-dejavu-core"];

const PROGRAM: &str = "chromium-headless-shell";

/// Whether a browser runs here; if not, says that `what` is left out. Root gets it with apt-get.
pub fn is_here(what: &str) -> bool {
    let runs = || {
        let mut version = Command::new(PROGRAM);
        version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    };
    if !runs() && rustix::process::geteuid().is_root() {
        packages::install(&PACKAGES);
    }
    let is_here = runs();
    if !is_here {
        left_out(what, Lack::Packages(&PACKAGES));
    }
    is_here
}

/// What the browser makes of a page: its document, and what it complained about.
///
/// # Errors
/// The browser does not start.
pub fn document(url: &str) -> std::io::Result<(String, String)> {
    let output = browser(url).args(["--dump-dom", "--enable-logging=stderr"]).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let console =
        text(&output.stderr).lines().filter(|line| line.contains("CONSOLE")).collect::<Vec<_>>().join("\n");
    Ok((text(&output.stdout), console))
}

/// A picture of a page, as PNG.
///
/// # Errors
/// The browser does not start.
pub fn picture(url: &str, width: u32, height: u32, file: &Path) -> std::io::Result<bool> {
    let screenshot = format!("--screenshot={}", file.display());
    let size = format!("--window-size={width},{height}");
    let status = browser(url).args([screenshot, size, "--hide-scrollbars".to_owned()]).output()?.status;
    Ok(status.success())
}

fn browser(url: &str) -> Command {
    // It has been seen to hang.
    let mut browser = Command::new("timeout");
    browser.args(["--kill-after=5", "60", PROGRAM]);
    // Root may not have a sandbox. The page comes from a process of the test.
    browser.args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--timeout=10000"]);
    browser.arg(url).stdin(Stdio::null());
    browser
}
