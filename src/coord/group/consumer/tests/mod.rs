//! Consumer groups as members see them, through the machine.

mod bed;
mod members;
mod migration;
mod random;
mod size;
mod subscriptions;
mod targets;
