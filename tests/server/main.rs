//! The server over real sockets: order, bounds, time-outs, hostile clients, stop.

mod files;
mod hostile;
mod limits;
mod order;
mod service;
mod stop;
#[path = "../support/mod.rs"]
mod support;
