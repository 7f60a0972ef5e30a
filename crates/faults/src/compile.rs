//! The C parts, compiled where they are needed: bundled SQLite needs a C compiler too.

use std::path::Path;
use std::process::Command;

/// Compiles a source of `shim/`.
pub(crate) fn compile(source: &str, options: &[&str], output: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim").join(source);
    let mut compiler = Command::new("cc");
    compiler.args(options).args(["-O2", "-o"]).arg(output).arg(source).arg("-ldl");
    assert!(compiler.status().is_ok_and(|status| status.success()), "a C compiler is needed");
}
