//! What a plan would do, and why blocks would be left out.

use super::prune::{index_blocks, zone};
use super::{ExecError, Plan};
use crate::record::Source;
use std::fmt;
use std::sync::Arc;

/// A plan, and which of its parts leave out how many blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Explanation {
    /// The steps of the plan.
    pub plan: Vec<String>,
    /// Blocks in all sources.
    pub blocks_total: u64,
    /// Those that lie outside of the span of time.
    pub blocks_pruned_time: u64,
    /// Those inside of the span that are damaged, so that an answer misses what they have.
    pub blocks_damaged: u64,
    /// What each part of the filter that must hold does alone, among the blocks inside of the span.
    pub predicates: Vec<PredicateExplanation>,
    /// What is left of each source.
    pub sources: Vec<SourceExplanation>,
}

/// One part of a filter that must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PredicateExplanation {
    /// The condition.
    pub condition: String,
    /// Blocks that it leaves out by zone maps.
    pub blocks_pruned_zone: u64,
    /// Blocks that it leaves out by the index, of those that zone maps leave.
    pub blocks_pruned_index: u64,
    /// Blocks of which all rows match.
    pub blocks_whole: u64,
}

/// One source.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SourceExplanation {
    /// What it is called.
    pub label: String,
    /// Its blocks.
    pub blocks: u64,
    /// Those that may have a match.
    pub blocks_left: u64,
    /// Is there an index over words?
    pub has_index: bool,
}

/// Explains a plan over some sources. Reads zone maps and indexes, but no columns.
pub fn explain(plan: &Plan, sources: &[Arc<dyn Source>]) -> Result<Explanation, ExecError> {
    let conjuncts = plan.predicate().conjuncts();
    let mut explanation = Explanation {
        plan: plan.to_string().lines().map(str::to_string).collect(),
        predicates: conjuncts
            .iter()
            .map(|part| PredicateExplanation { condition: part.to_string(), ..Default::default() })
            .collect(),
        ..Default::default()
    };
    for source in sources {
        let terms = source.terms();
        let mut indexed = Vec::with_capacity(conjuncts.len());
        for part in conjuncts {
            indexed.push(match &terms {
                Some(terms) => index_blocks(part, &**terms)?,
                None => None,
            });
        }
        let mut left = 0;
        for at in 0..source.len() {
            explanation.blocks_total += 1;
            if !zone::of_time(plan.span(), source.info(at).time).may {
                explanation.blocks_pruned_time += 1;
                continue;
            }
            let block = match source.damage(at).map_or_else(|| source.block(at), Err) {
                Ok(block) => block,
                Err(error) if error.is_damage() => {
                    explanation.blocks_damaged += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut may = true;
            for ((part, blocks), told) in conjuncts.iter().zip(&indexed).zip(&mut explanation.predicates) {
                let verdict = zone::verdict(part, &*block)?;
                if !verdict.may {
                    told.blocks_pruned_zone += 1;
                    may = false;
                } else if verdict.all {
                    told.blocks_whole += 1;
                } else if blocks.as_ref().is_some_and(|blocks| !blocks.contains(at as u32)) {
                    told.blocks_pruned_index += 1;
                    may = false;
                }
            }
            left += u64::from(may);
        }
        explanation.sources.push(SourceExplanation {
            label: source.label(),
            blocks: source.len() as u64,
            blocks_left: left,
            has_index: terms.is_some(),
        });
    }
    Ok(explanation)
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let few = |n: u64, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
        for step in &self.plan {
            writeln!(f, "{step}")?;
        }
        let (blocks, sources) = (few(self.blocks_total, "block"), few(self.sources.len() as u64, "source"));
        writeln!(f, "\n{blocks} in {sources}, {} outside of the span of time", self.blocks_pruned_time)?;
        if self.blocks_damaged > 0 {
            writeln!(f, "{} damaged, which answers miss", few(self.blocks_damaged, "block"))?;
        }
        for part in &self.predicates {
            let PredicateExplanation { condition, blocks_pruned_zone, blocks_pruned_index, blocks_whole } = part;
            writeln!(f, "\n  {condition}")?;
            writeln!(
                f,
                "    leaves out {blocks_pruned_zone} by zone maps, {blocks_pruned_index} by the index; \
                 {blocks_whole} match as a whole"
            )?;
        }
        f.write_str("\n")?;
        for source in &self.sources {
            let index = if source.has_index { "" } else { ", no index" };
            writeln!(f, "  {}: {} of {} blocks left{index}", source.label, source.blocks_left, source.blocks)?;
        }
        Ok(())
    }
}
