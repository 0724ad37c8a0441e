//! Consumer groups as members see them, through the machine.

mod bed;
mod members;
mod migration;
mod mixed;
mod random;
mod size;
mod subscriptions;
mod targets;
