//! Tests of texts that are stored as templates, before these are put together.
//!
//! Promises: what [`Outlook::found`] says of a template holds of every value that has it. Most templates have a text
//! that is looked for in a literal, or can have it nowhere, so that few values are left to be put together.

mod automaton;
mod sought;
#[cfg(test)]
mod tests;

use super::ValueTest;
use super::scan::Boundaries;
use crate::error::StorageError;
use crate::exec::prune::Needs;
use crate::record::text::is_word_char;
use crate::record::{Block, Outline};
use automaton::Automaton;
use sought::{Look, Sought};

/// Shorter texts are in many literals.
const COMMON_BYTES_MIN: usize = 4;

/// What is known of the values of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// None passes.
    Never,
    /// Some may pass.
    Perhaps,
    /// All pass.
    Always,
}

/// A test, ready to look at outlines.
#[derive(Debug)]
pub(crate) enum Outlook {
    /// Nothing can be told.
    Unknown,
    /// A value passes where it has this text, and no other does.
    Text(Box<Sought>),
    /// A value passes that an expression matches, and has what is needed for it.
    Expression(Required, Box<Automaton>),
    /// A value that passes has what is needed.
    Required(Required),
}

/// What a value needs to pass.
#[derive(Debug)]
pub(crate) enum Required {
    Nothing,
    Text(Box<Sought>),
    All(Vec<Required>),
    One(Vec<Required>),
}

impl Outlook {
    /// Of a test, and of what values that pass need.
    pub(crate) fn new(test: &ValueTest, needs: &Needs) -> Self {
        let required = match test {
            ValueTest::Phrase(phrase) => return Outlook::Text(Box::new(Sought::new(phrase.folded(), phrase.ends()))),
            ValueTest::Wildcard(wildcard) => match wildcard.only_text() {
                Some((folded, ends)) => return Outlook::Text(Box::new(Sought::new(folded, ends))),
                None => Required::new(needs),
            },
            ValueTest::Exists | ValueTest::Compare(_) | ValueTest::IpRange(_) => return Outlook::Unknown,
            // What alternatives have in common is looked for once, and the rest is told by the expression itself.
            ValueTest::Regex(regex) if regex.common().any(|text| text.len() >= COMMON_BYTES_MIN) => {
                let common = regex.common().filter(|text| text.len() >= COMMON_BYTES_MIN);
                let anywhere = Boundaries { left: false, right: false };
                Required::All(common.map(|text| Required::Text(Box::new(Sought::new(text, anywhere)))).collect())
            }
            _ => Required::new(needs),
        };
        let automaton = match test {
            ValueTest::Regex(regex) => Automaton::new(regex.pattern(), regex.ignores_case()),
            _ => None,
        };
        match (automaton, required) {
            (Some(automaton), required) => Outlook::Expression(required, Box::new(automaton)),
            (None, Required::Nothing) => Outlook::Unknown,
            (None, required) => Outlook::Required(required),
        }
    }

    /// What is known of the values of each template, of an outline of this block; `None` where that is nothing.
    pub(crate) fn found(&self, outline: &Outline, block: &dyn Block) -> Result<Option<Vec<Found>>, StorageError> {
        Ok(Some(match self {
            Outlook::Unknown => return Ok(None),
            Outlook::Text(sought) => Look::new(sought, outline, block).found(sought.ends())?,
            Outlook::Required(required) => required.found(outline, block)?,
            Outlook::Expression(required, automaton) => {
                let mut found = required.found(outline, block)?;
                automaton.look_closer(outline, &mut found);
                found
            }
        }))
    }
}

impl Required {
    fn new(needs: &Needs) -> Self {
        match needs {
            // What an automaton accepts is a word, of which nothing is told here.
            Needs::Unknown | Needs::Word(_) => Required::Nothing,
            Needs::Literal { folded, open_left, open_right } => {
                let is_word = |c: Option<char>| c.is_some_and(is_word_char);
                let ends = Boundaries {
                    left: !open_left && is_word(folded.chars().next()),
                    right: !open_right && is_word(folded.chars().next_back()),
                };
                Required::Text(Box::new(Sought::new(folded, ends)))
            }
            Needs::All(parts) => Required::All(parts.iter().map(Required::new).collect()),
            Needs::One(parts) => Required::One(parts.iter().map(Required::new).collect()),
        }
    }

    /// For each template whether none of its values has what is needed.
    fn found(&self, outline: &Outline, block: &dyn Block) -> Result<Vec<Found>, StorageError> {
        let all = |found: Found| vec![found; outline.skeleton.templates.len()];
        let no_more_than = |found: &mut Vec<Found>, others: Vec<Found>, which: Found| {
            found.iter_mut().zip(others).filter(|(_, other)| *other == which).for_each(|(own, _)| *own = which);
        };
        Ok(match self {
            Required::Nothing => all(Found::Perhaps),
            Required::Text(sought) => {
                let mut found = Look::new(sought, outline, block).found(sought.ends())?;
                found.iter_mut().filter(|found| **found == Found::Always).for_each(|found| *found = Found::Perhaps);
                found
            }
            Required::All(parts) => {
                let mut found = all(Found::Perhaps);
                for part in parts {
                    no_more_than(&mut found, part.found(outline, block)?, Found::Never);
                }
                found
            }
            Required::One(parts) => {
                let mut found = all(Found::Never);
                for part in parts {
                    no_more_than(&mut found, part.found(outline, block)?, Found::Perhaps);
                }
                found
            }
        })
    }
}
