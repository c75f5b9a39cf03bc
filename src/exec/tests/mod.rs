//! Whole queries over small stores.

mod agree;
mod build;
mod queries;
mod speed;
