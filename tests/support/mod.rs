//! What several test binaries share. Each uses a part of it.
#![allow(dead_code, reason = "every test binary uses another part")]

pub mod broker;
pub mod client;
pub mod dead_letters;
pub mod topics;
