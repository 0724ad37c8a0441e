//! Consumer groups as members see them, through the machine.

mod bed;
mod members;
mod random;
mod subscriptions;
mod targets;
