//! What several tests share. Nothing here knows the engine but `bin`, which runs the program, and `store`.
#![allow(dead_code, reason = "each test takes what it needs")]

pub mod bin;
pub mod folder;
pub mod http;
pub mod json;
pub mod rng;
pub mod store;
