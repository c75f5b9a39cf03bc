//! Blocks in memory, with real zone maps and an exact index, for tests.

use crate::error::StorageError;
use crate::id::Seq;
use crate::record::text::{fold, is_word_char, words};
use crate::record::{
    Block, BlockInfo, Codes, Column, Data, Field, Fill, FillPlace, FixedForm, Form, Labels, Outline, Presence,
    Skeleton, Source, Tag, Tags, Template, TermIndex, TermQuery, Texts, Timestamp, ZONE_COUNTS_MAX, Zone, ZoneMap,
    elements,
};
use regex_automata::dfa::Automaton;
use regex_automata::{Anchored, Input};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A record of a test: a time, a stream and values by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestRecord {
    pub(crate) time: i64,
    pub(crate) seq: u64,
    pub(crate) labels: Labels,
    pub(crate) fields: BTreeMap<String, (Tag, String)>,
}

impl TestRecord {
    /// From a JSON object. `_t` is the time in seconds, `_l` an object of labels.
    pub(crate) fn from_json(json: &str, seq: u64) -> Self {
        let object: BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_str(json).unwrap_or_else(|e| panic!("{json}: {e}"));
        let mut record = TestRecord { seq, ..Default::default() };
        for (name, raw) in object {
            match name.as_str() {
                "_t" => record.time = raw.get().parse::<i64>().expect("seconds") * 1_000_000_000,
                "_l" => {
                    let labels: BTreeMap<String, String> = serde_json::from_str(raw.get()).expect("labels");
                    record.labels = Labels::new(labels);
                }
                _ => {
                    let value = elements(&format!("[{}]", raw.get())).pop().expect("a value");
                    record.fields.insert(name, value);
                }
            }
        }
        for (name, value) in record.labels.iter() {
            record.fields.entry(name.into()).or_insert((Tag::String, value.into()));
        }
        record
    }
}

/// How columns are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// As texts.
    Plain,
    /// As dictionaries.
    Dictionary,
    /// As a dictionary where there are few values, else as whatever fits.
    Mixed,
    /// As whatever fits: constant, integers, decimals, fixed bytes, else texts.
    Typed,
    /// As texts that come with an outline.
    Outlined,
}

/// What zone maps a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zones {
    /// None.
    Unknown,
    /// Bounds, with no counts of values.
    Bounds,
    /// Counts of values as well, where there are few.
    Counts,
}

/// A block in memory. Counts the columns that are read.
#[derive(Debug)]
pub(crate) struct MemoryBlock {
    records: Vec<TestRecord>,
    fields: BTreeMap<String, (Field, ZoneMap)>,
    pub(crate) columns_read: AtomicU64,
    zones: Zones,
    outlined: bool,
}

impl MemoryBlock {
    pub(crate) fn new(mut records: Vec<TestRecord>, style: Style, zones: Zones) -> Self {
        records.sort_by_key(|r| (r.time, r.seq));
        let names: BTreeSet<&String> = records.iter().flat_map(|r| r.fields.keys()).collect();
        let fields = names.into_iter().map(|name| (name.clone(), Self::field(&records, name, style, zones))).collect();
        MemoryBlock { fields, records, columns_read: AtomicU64::new(0), zones, outlined: style == Style::Outlined }
    }

    fn field(records: &[TestRecord], name: &str, style: Style, zones: Zones) -> (Field, ZoneMap) {
        let (mut rows, mut values, mut zone) = (Vec::new(), Vec::new(), ZoneMap::default());
        for (row, record) in records.iter().enumerate() {
            if let Some((tag, text)) = record.fields.get(name) {
                rows.push(row as u32);
                values.push((*tag, text.clone()));
                zone.add(*tag, text, 1);
            }
        }
        let mut counts: BTreeMap<(Tag, Box<[u8]>), u32> = BTreeMap::new();
        values.iter().for_each(|(tag, text)| *counts.entry((*tag, text.as_bytes().into())).or_default() += 1);
        zone.distinct = Some(counts.len() as u32);
        if zones == Zones::Counts && counts.len() <= ZONE_COUNTS_MAX {
            zone.counts = Some(counts.into_iter().map(|((tag, text), n)| (tag, text, n)).collect());
        }
        let presence = if rows.len() == records.len() { Presence::All } else { Presence::Rows(rows.into()) };
        (Field { presence, column: Arc::new(column(&values, style)) }, zone)
    }
}

fn tags(values: &[(Tag, String)]) -> Tags {
    match values.first() {
        Some((first, _)) if values.iter().all(|(tag, _)| tag == first) => Tags::One(*first),
        _ => Tags::Each(values.iter().map(|(tag, _)| *tag).collect()),
    }
}

fn plain(values: &[(Tag, String)]) -> Column {
    let mut texts = Texts::default();
    values.iter().for_each(|(_, text)| texts.push(text.as_bytes()));
    Column { tags: tags(values), data: Data::Plain(texts) }
}

/// A column of these values.
pub(crate) fn column(values: &[(Tag, String)], style: Style) -> Column {
    match style {
        Style::Plain | Style::Outlined => plain(values),
        Style::Dictionary => {
            let mut entries = values.to_vec();
            entries.sort();
            entries.dedup();
            let codes = values.iter().map(|v| entries.binary_search(v).unwrap_or_default() as u32);
            let codes = Codes::of(codes, entries.len());
            let Column { tags, data } = identifiers(&entries).unwrap_or_else(|| plain(&entries));
            Column { tags, data: Data::Dictionary { entries: Box::new(data), codes } }
        }
        Style::Mixed => {
            let distinct: BTreeSet<_> = values.iter().take(1000).collect();
            column(values, if distinct.len() < 64 { Style::Dictionary } else { Style::Typed })
        }
        Style::Typed => typed(values).unwrap_or_else(|| plain(values)),
    }
}

fn typed(values: &[(Tag, String)]) -> Option<Column> {
    let first = values.first()?;
    if values.iter().all(|v| v == first) {
        let data = Data::Constant { len: values.len() as u32, text: first.1.as_bytes().into() };
        return Some(Column { tags: Tags::One(first.0), data });
    }
    let same_texts = |data: Data| {
        let mut buffer = Vec::new();
        let same = (0..values.len()).all(|i| data.text(i, &mut buffer) == values[i].1.as_bytes());
        same.then(|| Column { tags: tags(values), data })
    };
    let integers = || values.iter().map(|(_, t)| t.parse::<i64>().ok()).collect::<Option<Vec<_>>>();
    let decimals = || {
        let places = values[0].1.split_once('.')?.1.len();
        let digits = |text: &str| {
            (text.split_once('.')?.1.len() == places).then(|| text.replace('.', "").parse::<i64>().ok())?
        };
        let values = values.iter().map(|(_, t)| digits(t)).collect::<Option<Vec<_>>>()?;
        (1..=18).contains(&places).then_some(Data::Decimal { values, places: places as u8 })
    };
    let addresses = || {
        let address = |text: &str| text.parse::<std::net::Ipv4Addr>().ok().map(|a| a.octets());
        let bytes = values.iter().map(|(_, t)| address(t)).collect::<Option<Vec<_>>>()?.concat();
        Some(Data::Fixed { form: FixedForm::Ipv4, bytes })
    };
    let integer = integers().and_then(|v| same_texts(Data::Integer(v)));
    let number = integer.or_else(|| decimals().and_then(same_texts));
    number.or_else(|| addresses().and_then(same_texts)).or_else(|| identifiers(values))
}

/// Texts as templates, and those of them that are no numbers: holes are numbers, and what there is of `b` and letters that fold to more or other than themselves.
fn outline(number: u32, column: &Column) -> Option<(Outline, Column)> {
    let (Data::Plain(texts), Tags::One(Tag::String | Tag::Number)) = (&column.data, &column.tags) else { return None };
    let is_odd = |c: char| matches!(c, 'b' | 'B' | '\u{e9}' | '\u{212a}');
    let class = |c: char| (c.is_ascii_digit(), is_odd(c));
    let (mut others, mut numbers) = (Texts::default(), BTreeMap::new());
    let (mut templates, mut codes) = (Vec::new(), Vec::new());
    for i in 0..texts.len() {
        let chars: Vec<char> = std::str::from_utf8(texts.get(i)).expect("it is text").chars().collect();
        let mut template = Template { literals: vec![Box::default()], holes: Vec::new() };
        for run in chars.chunk_by(|a, b| class(*a) == class(*b)) {
            let text: String = run.iter().collect();
            if class(run[0]) == (false, false) {
                template.literals.pop();
                template.literals.push(text.into_bytes().into());
                continue;
            }
            let is_number = text.parse().is_ok_and(|n: i64| n.to_string() == text);
            if !is_number {
                others.push(text.as_bytes());
            }
            template.holes.push(u32::from(!is_number));
            template.literals.push(Box::default());
        }
        let key = (template.literals.clone(), template.holes.clone());
        codes.push(*numbers.entry(key).or_insert_with(|| {
            templates.push(template);
            templates.len() as u32 - 1
        }));
    }
    let codes = Codes::of(codes, templates.len());
    let others = Column { tags: Tags::One(Tag::String), data: Data::Plain(others) };
    let fills = vec![Fill::new(Form::Integer), Fill::of_texts(&others, FillPlace { column: number, fill: Some(1) })];
    Some((Outline::new(Skeleton::new(templates, codes).into(), fills), others))
}

/// UUIDs, or a text and eight or twelve bytes as digits.
fn identifiers(values: &[(Tag, String)]) -> Option<Column> {
    let hex = |width: usize| {
        let text = values.first()?.1.as_bytes();
        let prefix = text.get(..text.len().checked_sub(2 * width)?)?.into();
        Some(FixedForm::Hex { prefix, width: width as u8 })
    };
    let bytes = |form: &FixedForm| Some(values.iter().map(|(_, t)| form.read(t)).collect::<Option<Vec<_>>>()?.concat());
    let forms = [Some(FixedForm::Uuid), hex(8), hex(12)];
    let found = forms.into_iter().flatten().find_map(|form| Some((bytes(&form)?, form)));
    found.map(|(bytes, form)| Column { tags: tags(values), data: Data::Fixed { form, bytes } })
}

impl Block for MemoryBlock {
    fn rows(&self) -> u32 {
        self.records.len() as u32
    }
    fn time_range(&self) -> (Timestamp, Timestamp) {
        let time = |r: Option<&TestRecord>| Timestamp(r.map_or(0, |r| r.time));
        (time(self.records.first()), time(self.records.last()))
    }
    fn seq_range(&self) -> (Seq, Seq) {
        let seqs = || self.records.iter().map(|r| r.seq);
        (Seq(seqs().min().unwrap_or(0)), Seq(seqs().max().unwrap_or(0)))
    }
    fn times(&self) -> Result<Arc<Vec<i64>>, StorageError> {
        self.columns_read.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(self.records.iter().map(|r| r.time).collect()))
    }
    fn seqs(&self) -> Result<Arc<Vec<u64>>, StorageError> {
        self.columns_read.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(self.records.iter().map(|r| r.seq).collect()))
    }
    fn streams(&self) -> Result<Arc<Column>, StorageError> {
        self.columns_read.fetch_add(1, Ordering::Relaxed);
        let texts: Vec<_> = self.records.iter().map(|r| (Tag::String, r.labels.to_string())).collect();
        let constant = typed(&texts).filter(|c| matches!(c.data, Data::Constant { .. }));
        Ok(Arc::new(constant.unwrap_or_else(|| column(&texts, Style::Dictionary))))
    }
    fn names(&self) -> Result<Vec<Arc<str>>, StorageError> {
        Ok(self.fields.keys().map(|name| name.as_str().into()).collect())
    }
    fn zone(&self, name: &str) -> Result<Zone, StorageError> {
        Ok(match self.fields.get(name) {
            None => Zone::Absent,
            Some(_) if self.zones == Zones::Unknown => Zone::Unknown,
            Some((_, zone)) => Zone::Known(Arc::new(zone.clone())),
        })
    }
    fn outline(&self, name: &str) -> Result<Option<Arc<Outline>>, StorageError> {
        let field = self.fields.get(name).filter(|_| self.outlined);
        let number = self.fields.keys().position(|other| other == name).unwrap_or_default() as u32;
        Ok(field.and_then(|(field, _)| outline(number, &field.column)).map(|(outline, _)| Arc::new(outline)))
    }
    fn fill_texts(&self, place: FillPlace) -> Result<Option<Arc<Column>>, StorageError> {
        let field = self.fields.values().nth(place.column as usize);
        Ok(field.and_then(|(field, _)| outline(place.column, &field.column)).map(|(_, others)| Arc::new(others)))
    }
    fn field(&self, name: &str) -> Result<Option<Field>, StorageError> {
        self.columns_read.fetch_add(1, Ordering::Relaxed);
        Ok(self.fields.get(name).map(|(field, _)| field.clone()))
    }
}

/// Blocks in memory, with an index of their exact words.
#[derive(Debug, Default)]
pub(crate) struct MemorySource {
    pub(crate) blocks: Vec<Arc<MemoryBlock>>,
    index: Option<Arc<WordIndex>>,
}

impl MemorySource {
    pub(crate) fn new(blocks: Vec<MemoryBlock>, with_index: bool) -> Self {
        let index = with_index.then(|| Arc::new(WordIndex(blocks.iter().map(words_of).collect())));
        MemorySource { blocks: blocks.into_iter().map(Arc::new).collect(), index }
    }
}

fn words_of(block: &MemoryBlock) -> BTreeSet<String> {
    fn add(tag: Tag, text: &str, all: &mut BTreeSet<String>) {
        all.extend(words(&fold(text)).map(str::to_string));
        if tag == Tag::Array {
            elements(text).iter().for_each(|(tag, text)| add(*tag, text, all));
        }
    }
    let mut all = BTreeSet::new();
    block.records.iter().flat_map(|r| r.fields.values()).for_each(|(tag, text)| add(*tag, text, &mut all));
    all
}

impl Source for MemorySource {
    fn label(&self) -> String {
        "memory".into()
    }
    fn len(&self) -> usize {
        self.blocks.len()
    }
    fn info(&self, block: usize) -> BlockInfo {
        let block = &self.blocks[block];
        BlockInfo { rows: block.rows(), time: block.time_range(), seq: block.seq_range() }
    }
    fn block(&self, block: usize) -> Result<Arc<dyn Block>, StorageError> {
        Ok(self.blocks[block].clone())
    }
    fn terms(&self) -> Option<Arc<dyn TermIndex>> {
        self.index.clone().map(|index| index as Arc<dyn TermIndex>)
    }
}

/// The folded words of each block.
#[derive(Debug)]
struct WordIndex(Vec<BTreeSet<String>>);

impl TermIndex for WordIndex {
    fn may_match(&self, query: &TermQuery<'_>) -> Result<RoaringBitmap, StorageError> {
        let may = |vocabulary: &BTreeSet<String>| match query {
            TermQuery::Literal { folded, open_left, open_right } => {
                let all: Vec<&str> = words(folded).collect();
                let open_left = *open_left && folded.chars().next().is_some_and(is_word_char);
                let open_right = *open_right && folded.chars().next_back().is_some_and(is_word_char);
                all.iter().enumerate().all(|(i, word)| {
                    let (left, right) = (open_left && i == 0, open_right && i + 1 == all.len());
                    vocabulary.iter().any(|known| match (left, right) {
                        (false, false) => known == word,
                        (true, false) => known.ends_with(word),
                        (false, true) => known.starts_with(word),
                        (true, true) => known.contains(word),
                    })
                })
            }
            TermQuery::Word { automaton } => vocabulary.iter().any(|word| {
                let input = Input::new(word).anchored(Anchored::Yes);
                automaton.try_search_fwd(&input).is_ok_and(|m| m.is_some_and(|m| m.offset() == word.len()))
            }),
        };
        Ok(self.0.iter().enumerate().filter(|(_, words)| may(words)).map(|(i, _)| i as u32).collect())
    }
}
