//! What commands write: answers to standard output, complaints to standard error.

use std::io::{self, Write};

use super::exit::Exit;

/// Writes an answer. A reader that has gone away (`klamm config docs | head`) is no failure.
pub fn print(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Ok,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(_) => Exit::Failed,
    }
}

/// Writes one line of complaint and gives back the code to exit with.
pub fn fail(line: &str, exit: Exit) -> Exit {
    // Nobody is left to be told when standard error itself is closed.
    let _ = writeln!(io::stderr().lock(), "klamm: {line}");
    exit
}

/// Writes a line about what is under way.
pub fn note(line: &str) {
    // Nobody is left to be told when standard error itself is closed.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
