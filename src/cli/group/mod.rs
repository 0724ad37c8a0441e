//! `klamm group`: consumer groups of both protocols and their offsets, over Kafka's protocol.

mod assignment;
mod describe;
mod list;
mod offsets;
mod remove;
mod reset;
mod show;

use clap::Subcommand;

use super::exit::Exit;
use super::remote::Remote;

#[derive(Subcommand, Debug)]
pub enum GroupCommand {
    /// List groups
    ///
    /// Example: klamm group list --state empty
    List(Remote<list::List>),
    /// Show a group's members, what each of them reads, and how far behind it is
    ///
    /// Example: klamm group show payments
    Show(Remote<show::Show>),
    /// Show a group's committed offsets and lag
    ///
    /// Example: klamm group offsets payments --output json
    Offsets(Remote<show::Offsets>),
    /// Move a group's committed offsets; shows what it would do unless told to --execute
    ///
    /// The group must have no members.
    ///
    /// Example: klamm group reset-offsets payments --topic orders:0,1 --to-earliest --execute
    #[command(visible_alias = "reset")]
    ResetOffsets(Remote<reset::Reset>),
    /// Delete groups and their committed offsets
    ///
    /// Groups with members are refused.
    ///
    /// Example: klamm group delete payments
    Delete(Remote<remove::Delete>),
    /// Delete committed offsets of topics that nobody in the group subscribes to
    ///
    /// Example: klamm group delete-offsets payments --topic orders
    DeleteOffsets(Remote<remove::DeleteOffsets>),
}

pub fn run(command: &GroupCommand) -> Exit {
    match command {
        GroupCommand::List(remote) => remote.run(list::list),
        GroupCommand::Show(remote) => remote.run(show::show),
        GroupCommand::Offsets(remote) => remote.run(show::offsets),
        GroupCommand::ResetOffsets(remote) => remote.run(reset::reset),
        GroupCommand::Delete(remote) => remote.run(remove::delete),
        GroupCommand::DeleteOffsets(remote) => remote.run(remove::delete_offsets),
    }
}
