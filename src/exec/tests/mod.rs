//! Whole queries over small stores.

mod agree;
mod build;
mod first;
mod ids;
mod queries;
mod speed;
