//! Whole queries over small stores.

mod agree;
mod build;
mod first;
mod ids;
mod memory;
mod queries;
mod speed;
