//! The `klamm` binary.

use klamm::broker;
use klamm::cli::exit::Exit;
use klamm::cli::{self, Action};

fn main() -> Exit {
    match cli::run(std::env::args_os(), std::env::vars_os()) {
        Action::Serve(start) => broker::run(&start),
        Action::Done(exit) => exit,
    }
}
