//! A plan, run over blocks of columns: filters, pipes and aggregates, pushed to a sink.
//!
//! Promises: a query answers right or ends with an error. Blocks that are damaged are left out, and then the answer
//! says so, unless it was asked for strictly; it is never part of an answer in silence. What it keeps in memory is
//! counted, and every bound is a named limit. Pruning, columns, threads and early ends change how fast an answer
//! comes, never what it is. May not know: the text of queries, HTTP, tenants and how they are looked up, nom, tantivy.
//!
//! How it goes: [`Plan::new`] resolves a syntax tree. [`Execution::run`] takes the blocks of some sources, the newest
//! first; `prune` leaves out those without a match; `view` tests the columns of the others; then `newest`, `sorted` or
//! `stats` turn matching rows into what the first pipe needs, and `pipe` has the rest.

mod error;
mod explain;
mod filter;
mod limits;
mod materialise;
mod missing;
mod newest;
mod order;
mod parallel;
mod pipe;
mod places;
mod plan;
mod predicate;
mod prune;
mod row;
mod run;
mod scan;
mod sorted;
mod stats;
mod target;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;
mod view;

pub use error::ExecError;
pub use explain::{Explanation, PredicateExplanation, SourceExplanation, explain};
pub use limits::{Limits, QUERY_GROUPS_MAX, QUERY_MEMORY_BYTES_MAX, QUERY_ROWS_SORTED_MAX};
pub use missing::{Missed, Missing};
pub use plan::Plan;
pub use row::{Cell, Row};
pub use run::Execution;
pub use scan::QueryStats;
pub use stats::default_name;
pub use time::TimeSpan;
