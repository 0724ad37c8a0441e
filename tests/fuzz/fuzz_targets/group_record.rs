//! A stored record of the group coordinator, through `targets::group_record`.

#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::group_record(input));
