//! Running a test's body as a user who owns nothing: what root is allowed shows no refusal.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, io};

use nix::unistd::Uid;

/// Set in the process that runs the test's body as somebody else.
const CHILD: &str = "LIFEBOAT_TEST_UNPRIVILEGED";

/// Debian's `nobody`; any number that owns nothing will do.
const NOBODY: u32 = 65_534;

/// Tells whether this process is that of a user without privileges, so that the body may run.
pub fn is_here() -> bool {
    !Uid::effective().is_root()
}

/// Runs one test of the current test program again, as nobody, and returns what it printed.
///
/// `name` is the test's whole name, as `--exact` wants it. The child finds [`is_here`] true.
///
/// # Panics
///
/// If the child failed, or ran no test.
pub fn run_again(name: &str) -> io::Result<()> {
    assert!(env::var_os(CHILD).is_none(), "the child must not be root");
    // Copied, since the way to the build directory may be root's alone.
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let program = folder.path().join("test");
    fs::copy(env::current_exe()?, &program)?;
    let output = Command::new(program)
        .args(["--exact", name])
        .current_dir("/")
        .env(CHILD, "1")
        .gid(NOBODY)
        .uid(NOBODY)
        .output()?;
    let shown = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}{errors}");
    Ok(())
}
