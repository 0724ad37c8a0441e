//! The composition: from settings to a running broker.

use crate::cli::Start;
use crate::cli::exit::Exit;
use crate::cli::output;

/// Runs the broker until it is told to stop.
#[must_use]
pub fn run(start: &Start) -> Exit {
    let data_dir = start.settings.data_dir.display();
    output::fail(&format!("nothing serves {data_dir} yet"), Exit::Failed)
}
