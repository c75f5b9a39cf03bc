//! Whole queries over small stores.

mod agree;
mod build;
mod first;
mod queries;
mod speed;
