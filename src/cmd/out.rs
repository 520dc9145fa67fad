//! Standard output. A reader that goes away (`| head`) ends a command quietly; a panic of `println!` would be louder.

use std::io::{self, Write};

/// Prints one line.
pub(crate) fn line(text: &str) {
    bytes(format!("{text}\n").as_bytes());
}

/// Prints text or data as it is.
pub(crate) fn bytes(data: &[u8]) {
    if let Err(error) = try_bytes(data) {
        let code = if error.kind() == io::ErrorKind::BrokenPipe { 0 } else { 1 };
        std::process::exit(code);
    }
}

/// Prints data, leaving what a failure means to the caller.
///
/// # Errors
/// Those of standard output.
pub(crate) fn try_bytes(data: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(data)?;
    out.flush()
}
