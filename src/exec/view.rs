//! One block under way: its columns as far as they were read, and the rows that match a condition.

use super::filter::bits::Bits;
use super::filter::column::{matching_places, matching_rows, rows_at};
use super::filter::outline::Found;
use super::filter::{FieldKind, Scratch, ValueTest};
use super::predicate::{FieldTest, Predicate};
use super::prune::zone;
use super::row::stream_id_text;
use super::target::{MESSAGE_NAME, Target};
use crate::error::StorageError;
use crate::record::{
    Block, Codes, Column, Data, Field, Number, Outline, Presence, Quantity, Tag, Tags, Texts, Timestamp,
};
use rustc_hash::FxHashMap;
use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

/// Up to so many rows are tested one by one, and only their part of a column is read.
pub(crate) const FEW_ROWS_MAX: u64 = 64;

/// Where more than one in so many values may pass by the outline of their column, all of them are read.
const PERHAPS_SHARE: usize = 4;
/// Where fewer than one in so many values of a column that was read are to be tested, these are tested one by one.
const FEWER_THAN: usize = 8;

/// A block whose columns are kept once they were read. Used by one thread.
pub(crate) struct BlockView {
    block: Arc<dyn Block>,
    fields: RefCell<FxHashMap<Box<str>, Option<Field>>>,
    times: OnceCell<Arc<Vec<i64>>>,
}

impl BlockView {
    pub(crate) fn new(block: Arc<dyn Block>) -> Self {
        BlockView { block, fields: RefCell::default(), times: OnceCell::new() }
    }

    pub(crate) fn block(&self) -> &Arc<dyn Block> {
        &self.block
    }
    pub(crate) fn rows(&self) -> u32 {
        self.block.rows()
    }

    /// Bytes of the columns that it keeps, about.
    pub(crate) fn memory(&self) -> usize {
        self.fields.borrow().values().flatten().map(Field::memory).sum()
    }

    fn none(&self) -> Bits {
        Bits::none(self.rows() as usize)
    }

    /// The time of each row.
    pub(crate) fn times(&self) -> Result<Arc<Vec<i64>>, StorageError> {
        if let Some(times) = self.times.get() {
            return Ok(times.clone());
        }
        let times = self.block.times()?;
        Ok(self.times.get_or_init(|| times).clone())
    }

    /// A field, read once.
    pub(crate) fn field(&self, name: &str) -> Result<Option<Field>, StorageError> {
        if let Some(field) = self.fields.borrow().get(name) {
            return Ok(field.clone());
        }
        let field = self.block.field(name)?;
        self.fields.borrow_mut().insert(name.into(), field.clone());
        Ok(field)
    }

    /// A field of which only these rows are needed.
    fn field_at(&self, name: &str, rows: Option<&[u32]>) -> Result<Option<Field>, StorageError> {
        match rows {
            Some(rows) if !self.fields.borrow().contains_key(name) => self.block.field_at(name, rows),
            _ => self.field(name),
        }
    }

    /// A field of which only these rows are needed, and not again.
    pub(crate) fn field_of(&self, name: &str, rows: &[u32]) -> Result<Option<Field>, StorageError> {
        self.field_at(name, Some(rows))
    }

    /// The values that a name stands for, in at least these rows (`None` for all).
    pub(crate) fn resolve(&self, target: &Target, rows: Option<&[u32]>) -> Result<Option<Field>, StorageError> {
        let all = |column: Column| Some(Field { presence: Presence::All, column: column.into() });
        Ok(match target {
            Target::Any => None,
            Target::Field(name) => self.field_at(name, rows)?,
            Target::Message(name) => match self.field_at(name, rows)? {
                None => self.field_at(MESSAGE_NAME, rows)?,
                Some(own) if matches!(own.presence, Presence::All) => Some(own),
                Some(own) => match self.field_at(MESSAGE_NAME, rows)? {
                    None => Some(own),
                    Some(message) => Some(first_of(&own, &message, self.rows())),
                },
            },
            Target::Seq => {
                // Sequence numbers are given one by one; i64 holds them for longer than there will be disks.
                let seqs = self.block.seqs()?.iter().map(|&s| i64::try_from(s).unwrap_or(i64::MAX)).collect();
                all(Column { tags: Tags::One(Tag::Number), data: Data::Integer(seqs) })
            }
            Target::Stream => Some(Field { presence: Presence::All, column: self.block.streams()? }),
            Target::StreamId => all(map_texts(&*self.block.streams()?, stream_id_text)),
            Target::Time => {
                let mut texts = Texts::default();
                let times = self.times()?;
                times.iter().for_each(|&t| texts.push(Timestamp(t).to_string().as_bytes()));
                all(Column { tags: Tags::One(Tag::String), data: Data::Plain(texts) })
            }
        })
    }

    /// The rows among `within` of which a condition holds.
    pub(crate) fn evaluate(&self, predicate: &Predicate, within: &Bits) -> Result<Bits, StorageError> {
        match predicate {
            _ if within.is_empty() => Ok(self.none()),
            Predicate::True => Ok(within.clone()),
            Predicate::False => Ok(self.none()),
            Predicate::And(parts) => {
                let mut rows = within.clone();
                for part in parts {
                    rows = self.evaluate(part, &rows)?;
                }
                Ok(rows)
            }
            Predicate::Or(parts) => {
                let (mut found, mut rest) = (self.none(), within.clone());
                for part in parts {
                    let rows = self.evaluate(part, &rest)?;
                    rest.minus(&rows);
                    found.or(&rows);
                }
                Ok(found)
            }
            Predicate::Not(inner) => {
                let mut rows = within.clone();
                rows.minus(&self.evaluate(inner, within)?);
                Ok(rows)
            }
            Predicate::Time(span) => {
                let rows = Bits::range(self.rows() as usize, span.rows(&self.times()?));
                Ok(both(rows, within))
            }
            Predicate::Stream(test, _) => {
                let streams = self.block.streams()?;
                Ok(both(self.stream_rows(&streams, &mut |text| test.matches(text)), within))
            }
            Predicate::Field(field) => self.evaluate_field(field, within),
        }
    }

    fn stream_rows(&self, streams: &Column, test: &mut dyn FnMut(&str) -> bool) -> Bits {
        let mut buffer = Vec::new();
        let mut holds =
            |column: &Column, i: usize| std::str::from_utf8(column.text(i, &mut buffer)).is_ok_and(&mut *test);
        let all = self.rows() as usize;
        match (streams.entries(), &streams.data) {
            (Some(entries), Data::Dictionary { codes, .. }) => {
                let passing = (0..entries.len()).filter(|&i| holds(&entries, i)).map(|entry| entry as u32);
                Bits::of_codes(codes, &passing.collect::<Vec<_>>())
            }
            (Some(entries), _) if !streams.is_empty() && holds(&entries, 0) => Bits::all(all),
            (Some(_), _) => Bits::none(all),
            (None, _) => Bits::from_fn(all, |i| i < streams.len() && holds(streams, i)),
        }
    }

    fn evaluate_field(&self, field: &FieldTest, within: &Bits) -> Result<Bits, StorageError> {
        let Target::Any = field.target else {
            // One branch of an `OR` may be decided for this block though the whole is not.
            if let Target::Field(name) = &field.target {
                let verdict = zone::of_name(field, name, &*self.block)?;
                if !verdict.may {
                    return Ok(self.none());
                }
                if verdict.all {
                    return Ok(within.clone());
                }
                if let Some(rows) = self.test_outline(field, name, within)? {
                    return Ok(rows);
                }
            }
            return self.test(&field.target, &field.test, within);
        };
        let names = match few(within) {
            Some(rows) => self.block.names_at(&rows)?,
            // Most fields have few values, and most texts stand in none of them.
            None if !field.needs.may_hold(&mut |folded| self.block.few_values_may_hold(folded)) => {
                self.block.names_of_many_values()?
            }
            None => self.block.names()?,
        };
        let (mut found, mut rest) = (self.none(), within.clone());
        for name in names {
            if rest.is_empty() {
                break;
            }
            if !zone::of_name(field, &name, &*self.block)?.may {
                continue;
            }
            let rows = match self.test_outline(field, &name, &rest)? {
                Some(rows) => rows,
                None => self.test(&Target::Field(name), &field.test, &rest)?,
            };
            rest.minus(&rows);
            found.or(&rows);
        }
        Ok(found)
    }

    /// The rows among `within` that pass a test of a field, where its outline tells that of most of them.
    fn test_outline(&self, field: &FieldTest, name: &str, within: &Bits) -> Result<Option<Bits>, StorageError> {
        if within.count() as u64 <= FEW_ROWS_MAX {
            return Ok(None);
        }
        let Some(Outlined { outline, found, always, perhaps }) = self.look(field, name)? else { return Ok(None) };
        if always + perhaps == 0 {
            return Ok(Some(self.none()));
        }
        let codes = &outline.skeleton.codes;
        let Some(presence) = self.block.presence(name)? else { return Ok(Some(self.none())) };
        let mut rows = self.none();
        if always > 0 {
            rows = both(rows_at(&presence, self.rows(), of_templates(codes, &found, Found::Always)), within);
        }
        if perhaps > 0 {
            let maybe = rows_at(&presence, self.rows(), of_templates(codes, &found, Found::Perhaps));
            rows.or(&self.test_rows(field, name, both(maybe, within))?);
        }
        Ok(Some(rows))
    }

    /// How many rows match, where that is told without knowing which ones; no row is read but those that may or may not
    /// match.
    pub(crate) fn rows_matching(&self, predicate: &Predicate) -> Result<Option<u32>, StorageError> {
        let Predicate::Field(field) = predicate else { return Ok(None) };
        let Target::Field(name) = &field.target else { return Ok(None) };
        let Some(Outlined { outline, found, always, perhaps }) = self.look(field, name)? else { return Ok(None) };
        if perhaps == 0 {
            return Ok(Some(always));
        }
        let Some(presence) = self.block.presence(name)? else { return Ok(Some(0)) };
        let maybe = of_templates(&outline.skeleton.codes, &found, Found::Perhaps);
        let passing = self.test_rows(field, name, rows_at(&presence, self.rows(), maybe))?;
        Ok(Some(always + passing.count() as u32))
    }

    /// What the outline of a field that was not read yet tells of its values, where that is enough.
    fn look(&self, field: &FieldTest, name: &str) -> Result<Option<Outlined>, StorageError> {
        if self.fields.borrow().contains_key(name) {
            return Ok(None);
        }
        let Some(outline) = self.block.outline(name)? else { return Ok(None) };
        let Some(found) = field.found(&outline, &*self.block)? else { return Ok(None) };
        let counts = &outline.skeleton.counts;
        let count = |which| found.iter().zip(counts).filter(|(found, _)| **found == which).map(|(_, n)| *n).sum();
        let (always, perhaps): (u32, u32) = (count(Found::Always), count(Found::Perhaps));
        // All texts stay for the next search, where parts are put together for this one.
        if perhaps as usize * PERHAPS_SHARE > outline.skeleton.codes.len() {
            return Ok(None);
        }
        Ok(Some(Outlined { outline, found, always, perhaps }))
    }

    /// Of these rows those that pass a test of a field, of which no more is read.
    fn test_rows(&self, field: &FieldTest, name: &str, mut rows: Bits) -> Result<Bits, StorageError> {
        if rows.is_empty() {
            return Ok(rows);
        }
        let list: Vec<u32> = rows.rows().collect();
        let Some(some) = self.field_of(name, &list)? else { return Ok(self.none()) };
        let kind = FieldKind::of(name);
        if list.len() * FEWER_THAN < some.column.len() {
            return Ok(self.passing(&some, &field.test, kind, list));
        }
        rows.and(&matching_rows(&some, self.rows(), &field.test, kind));
        Ok(rows)
    }

    /// The rows among `within` that pass a test of a field that was not read yet, step by step: what no value passes
    /// needs neither all of its values nor whose they are.
    fn test_column(&self, name: &str, test: &ValueTest, kind: FieldKind, within: &Bits) -> Result<Bits, StorageError> {
        if let Some(entries) = self.block.entries(name)?
            && matching_places(&entries, test, kind).is_empty()
        {
            return Ok(self.none());
        }
        let places = self.block.column(name)?.map(|column| matching_places(&column, test, kind));
        if places.as_ref().is_some_and(Bits::is_empty) {
            return Ok(self.none());
        }
        let Some(field) = self.field(name)? else { return Ok(self.none()) };
        let places = places.unwrap_or_else(|| matching_places(&field.column, test, kind));
        Ok(both(rows_at(&field.presence, self.rows(), places), within))
    }

    /// The rows among `within` that pass a test of what a name stands for.
    fn test(&self, target: &Target, test: &ValueTest, within: &Bits) -> Result<Bits, StorageError> {
        let kind = target.kind();
        let few = few(within);
        if let (Target::Field(name), None) = (target, &few)
            && !self.fields.borrow().contains_key(&**name)
        {
            return self.test_column(name, test, kind, within);
        }
        let Some(field) = self.resolve(target, few.as_deref())? else { return Ok(self.none()) };
        let Some(rows) = few else { return Ok(both(matching_rows(&field, self.rows(), test, kind), within)) };
        Ok(self.passing(&field, test, kind, rows))
    }

    /// Of these rows those that pass, one by one.
    fn passing(&self, field: &Field, test: &ValueTest, kind: FieldKind, rows: Vec<u32>) -> Bits {
        let (mut buffer, mut scratch) = (Vec::new(), Scratch::default());
        let passes = |row: &u32| {
            field.get(*row, &mut buffer).is_some_and(|(tag, text)| test.matches(tag, text, kind, &mut scratch))
        };
        Bits::of_rows(self.rows() as usize, rows.into_iter().filter(passes))
    }
}

/// What an outline tells of a test.
struct Outlined {
    outline: Arc<Outline>,
    /// Of each template.
    found: Vec<Found>,
    /// How many values pass, and how many of the others may.
    always: u32,
    perhaps: u32,
}

/// The places of the values whose templates have this answer.
fn of_templates(codes: &Codes, found: &[Found], which: Found) -> Bits {
    let chosen: Vec<u32> = (0..).zip(found).filter(|(_, found)| **found == which).map(|(code, _)| code).collect();
    Bits::of_codes(codes, &chosen)
}

/// The rows of both.
fn both(mut rows: Bits, within: &Bits) -> Bits {
    rows.and(within);
    rows
}

/// The rows, where they are few.
fn few(rows: &Bits) -> Option<Vec<u32>> {
    (rows.count() <= FEW_ROWS_MAX as usize).then(|| rows.rows().collect())
}

/// The values of one field, and of another one in rows that lack the first.
fn first_of(own: &Field, other: &Field, rows: u32) -> Field {
    let (mut texts, mut tags, mut present) = (Texts::default(), Vec::new(), Vec::new());
    let mut buffer = Vec::new();
    for row in 0..rows {
        for field in [own, other] {
            if let Some((tag, text)) = field.get(row, &mut buffer) {
                texts.push(text.as_bytes());
                tags.push(tag);
                present.push(row);
                break;
            }
        }
    }
    let column = Column { tags: Tags::Each(tags.into()), data: Data::Plain(texts) };
    Field { presence: Presence::Rows(present.into()), column: column.into() }
}

/// A column with each distinct text replaced.
fn map_texts(column: &Column, map: impl Fn(&str) -> String) -> Column {
    let mut buffer = Vec::new();
    let mut texts = Texts::default();
    let entries = column.entries();
    let source = entries.as_ref().unwrap_or(column);
    for i in 0..source.len() {
        texts.push(map(std::str::from_utf8(source.text(i, &mut buffer)).unwrap_or_default()).as_bytes());
    }
    let data = match (&column.data, entries.is_some()) {
        (Data::Dictionary { codes, .. }, true) => {
            Data::Dictionary { entries: Box::new(Data::Plain(texts)), codes: codes.clone() }
        }
        (Data::Constant { len, .. }, true) => {
            Data::Constant { len: *len, text: if texts.is_empty() { Box::default() } else { texts.get(0).into() } }
        }
        _ => Data::Plain(texts),
    };
    Column { tags: Tags::One(Tag::String), data }
}

/// A value's number in units of its field, where it is one.
pub(crate) fn measured(tag: Tag, text: &str, kind: FieldKind) -> Option<Number> {
    match tag {
        Tag::String if kind.is_time => Timestamp::parse(text).ok().map(|time| Number::from(time.0)),
        Tag::Number | Tag::String => Quantity::parse(text).map(|q| kind.measure(q)),
        Tag::Null | Tag::Bool | Tag::Array | Tag::Object => None,
    }
}
