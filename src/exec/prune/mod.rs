//! Which blocks need not be read.
//!
//! Promises: a block that has a match is never left out. Every condition gives two answers for a block: may a row
//! match, and do all rows match? A negation may match wherever not all rows match what is negated. That all match comes
//! from zone maps and ranges of time only, never from the index. Blocks are asked one by one when their turn comes, so
//! that a query that ends early asks no more than it needs.

mod needs;
pub(crate) mod zone;

pub(crate) use needs::Needs;
use needs::intersect;

use super::predicate::Predicate;
use super::{ExecError, Plan};
use crate::error::StorageError;
use crate::record::{Block, Source, TermIndex};
use roaring::RoaringBitmap;
use std::sync::{Arc, OnceLock};

/// What is to be done with a block.
pub(crate) enum Decision {
    /// It has no match.
    Skip(PrunedBy),
    /// It may have one.
    Read {
        /// The block.
        block: Arc<dyn Block>,
        /// Does every row match?
        all: bool,
    },
}

/// What told that a block has no match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrunedBy {
    Time,
    Zone,
    Index,
}

/// Decides about the blocks of some sources.
pub(crate) struct Pruner<'a> {
    plan: &'a Plan,
    sources: &'a [Arc<dyn Source>],
    /// What the index of each source says, once it was asked; `None` for every block.
    indexed: Vec<OnceLock<Result<Option<RoaringBitmap>, StorageError>>>,
    /// Is the index asked before the block's header is read?
    index_first: bool,
}

impl<'a> Pruner<'a> {
    pub(crate) fn new(plan: &'a Plan, sources: &'a [Arc<dyn Source>]) -> Self {
        let parts = plan.predicate().conjuncts();
        let index_first = parts.iter().any(can_look_up) && !parts.iter().any(zone::may_decide);
        Pruner { plan, sources, indexed: sources.iter().map(|_| OnceLock::new()).collect(), index_first }
    }

    /// Decides about a block: by time, then by its zone maps, then by the index; by the index before where zone maps
    /// hardly tell anything.
    pub(crate) fn decide(&self, source: usize, block: usize) -> Result<Decision, ExecError> {
        let at = &self.sources[source];
        let info = at.info(block);
        let time = zone::of_time(self.plan.span(), info.time);
        if !time.may || info.rows == 0 {
            return Ok(Decision::Skip(PrunedBy::Time));
        }
        let predicate = self.plan.predicate();
        if self.index_first && !self.index_may_match(source, block)? {
            return Ok(Decision::Skip(PrunedBy::Index));
        }
        let handle = at.block(block)?;
        let verdict = zone::verdict(predicate, &*handle)?;
        if !verdict.may {
            return Ok(Decision::Skip(PrunedBy::Zone));
        }
        if !verdict.all && !self.index_may_match(source, block)? {
            return Ok(Decision::Skip(PrunedBy::Index));
        }
        Ok(Decision::Read { block: handle, all: time.all && verdict.all })
    }

    fn index_may_match(&self, source: usize, block: usize) -> Result<bool, ExecError> {
        let ask = || match self.sources[source].terms() {
            Some(terms) => index_blocks(self.plan.predicate(), &*terms),
            None => Ok(None),
        };
        match self.indexed[source].get_or_init(ask) {
            Err(error) => Err(error.clone().into()),
            Ok(blocks) => Ok(blocks.as_ref().is_none_or(|blocks| blocks.contains(block as u32))),
        }
    }
}

/// The blocks that may have a match by the index; `None` for all. A negation says nothing here.
pub(crate) fn index_blocks(
    predicate: &Predicate,
    terms: &dyn TermIndex,
) -> Result<Option<RoaringBitmap>, StorageError> {
    match predicate {
        Predicate::And(parts) => {
            let mut all = None;
            for part in parts {
                all = intersect(all, index_blocks(part, terms)?);
                if all.as_ref().is_some_and(RoaringBitmap::is_empty) {
                    break;
                }
            }
            Ok(all)
        }
        Predicate::Or(parts) => {
            // Asks no index where one of the parts can't be looked up.
            if !parts.iter().all(can_look_up) {
                return Ok(None);
            }
            let mut any = RoaringBitmap::new();
            for part in parts {
                match index_blocks(part, terms)? {
                    Some(blocks) => any |= blocks,
                    None => return Ok(None),
                }
            }
            Ok(Some(any))
        }
        Predicate::Field(field) => field.needs.blocks(terms),
        Predicate::False => Ok(Some(RoaringBitmap::new())),
        Predicate::True | Predicate::Not(_) | Predicate::Time(_) | Predicate::Stream(..) => Ok(None),
    }
}

fn can_look_up(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::And(parts) => parts.iter().any(can_look_up),
        Predicate::Or(parts) => parts.iter().all(can_look_up),
        Predicate::Field(field) => !field.needs.is_unknown(),
        Predicate::False => true,
        Predicate::True | Predicate::Not(_) | Predicate::Time(_) | Predicate::Stream(..) => false,
    }
}
