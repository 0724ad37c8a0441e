//! `klamm delay`: what waits to be delivered, over the broker's HTTP endpoint.

mod clock;
mod pending;
mod sums;

use clap::Subcommand;

use super::exit::Exit;
use super::over_http::OverHttp;

#[derive(Subcommand, Debug)]
pub enum DelayCommand {
    /// List topics with what is pending in them
    ///
    /// Example: klamm delay list
    List(OverHttp<sums::List>),
    /// Show what is pending in a topic's partitions
    ///
    /// Example: klamm delay show orders
    Show(OverHttp<sums::Show>),
    /// List pending records in order of delivery
    ///
    /// Example: klamm delay pending orders --id order-4711
    Pending(OverHttp<pending::List>),
    /// Count pending records by the time until they are due
    ///
    /// Example: klamm delay histogram orders
    Histogram(OverHttp<sums::HistogramOf>),
    /// Cancel pending records, by ticket or by id
    ///
    /// Example: klamm delay cancel orders --id order-4711
    Cancel(OverHttp<pending::Cancel>),
    /// Show the clock by which records are released, or have it adopt wall time
    ///
    /// Example: klamm delay clock --adopt
    Clock(OverHttp<clock::Clock>),
}

pub fn run(command: &DelayCommand) -> Exit {
    match command {
        DelayCommand::List(over) => over.run(sums::list),
        DelayCommand::Show(over) => over.run(sums::show),
        DelayCommand::Pending(over) => over.run(pending::list),
        DelayCommand::Histogram(over) => over.run(sums::histogram),
        DelayCommand::Cancel(over) => over.run(pending::cancel),
        DelayCommand::Clock(over) => over.run(clock::clock),
    }
}
