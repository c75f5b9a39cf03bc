//! Checkpoints: taken of a store, and compared with what it is later.

mod check;
mod history;
mod make;
pub(super) mod records;

pub(super) use check::check;
pub use check::{Against, CheckpointReport, TenantContinued};
pub use history::Gone;
pub use make::take_checkpoint;
