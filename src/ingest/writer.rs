//! From the fields that a format finds to records in a batch: the rules of time, message and labels, in one place.

use super::time::{self, Read};
use super::{BATCH_MEMORY_BYTES, BATCH_TEXT_BYTES, IngestOptions, OutOfRange, Reason};
use crate::record::{Batch, BatchBuilder, Labels, Tag, Timestamp, is_empty_value};

/// Where the time is looked for, first to last; before them comes [`IngestOptions::time_field`].
const TIME_FIELDS: [&str; 5] = ["timestamp", "@timestamp", "_time", "time", "ts"];
/// Ranks from here on are names of other things too (`time` is often a duration): what is no time there is a field.
const RANK_UNSURE: usize = 4;
const RANKS: usize = TIME_FIELDS.len() + 1;
/// The slot of the field `message`, where another field is to become the message.
const MESSAGE: usize = RANKS;

/// What a field's name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It may hold the time; rank in the order of search.
    Time(u8),
    /// It becomes `message`.
    MessageField,
    /// It is `message`, and another field becomes the message.
    Message,
    /// It is a label; index into the stream fields.
    Label(usize),
}

/// A value set aside: it is decided at the end of the record whether and as what it is a field.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: Tag,
    start: usize,
    end: usize,
}

/// `rest.starts_with(key)`, without a call for the short keys that most are.
#[inline]
fn begins(rest: &[u8], key: &[u8]) -> bool {
    let word = |b: &[u8], at: usize| b.get(at..at + 8).and_then(|w| w.try_into().ok()).map(u64::from_ne_bytes);
    match key.len() {
        // The first eight bytes and the last eight, which may overlap.
        8..=16 => word(rest, 0) == word(key, 0) && word(rest, key.len() - 8) == word(key, key.len() - 8),
        0..8 => rest.len() >= key.len() && rest.iter().zip(key).all(|(a, b)| a == b),
        _ => rest.starts_with(key),
    }
}

/// Builds records; `begin`, `field`.., then `finish` or `abandon`.
#[derive(Debug)]
pub(super) struct Writer {
    builder: BatchBuilder,
    roles: Vec<(Box<str>, Role)>,
    // Most names have no role: their length or first byte tells.
    role_lengths: u64,
    role_firsts: [bool; 256],
    slots: [Option<Slot>; RANKS + 1],
    label_slots: Vec<Option<Slot>>,
    /// The texts of the slots.
    aside: String,
    own_time: Option<Timestamp>,
    message_renamed: bool,
    stream_fields: Vec<String>,
    given: Labels,
    labels: Labels,
    label_values: Vec<Option<Box<str>>>,
    time_field: Option<Box<str>>,
    arrival: Timestamp,
    bounds: (Timestamp, Timestamp),
    out_of_range: OutOfRange,
    one_batch: bool,
    accepted: u64,
}

impl Writer {
    pub(super) fn new(options: &IngestOptions) -> Self {
        let mut roles: Vec<(Box<str>, Role)> = Vec::new();
        if let Some(name) = &options.time_field {
            roles.push((name.as_str().into(), Role::Time(0)));
        }
        for (rank, name) in (1u8..).zip(TIME_FIELDS) {
            if options.time_field.as_deref() != Some(name) {
                roles.push((name.into(), Role::Time(rank)));
            }
        }
        let is_time = |roles: &[(Box<str>, Role)], name: &str| roles.iter().any(|(n, _)| **n == *name);
        if let Some(name) = options.msg_field.as_deref().filter(|n| *n != "message" && !is_time(&roles, n)) {
            roles.push((name.into(), Role::MessageField));
            roles.push(("message".into(), Role::Message));
        }
        let stream_fields = options.stream_fields.clone();
        for (i, name) in stream_fields.iter().enumerate() {
            roles.push((name.as_str().into(), Role::Label(i)));
        }
        let mut role_lengths = 0;
        let mut role_firsts = [false; 256];
        for (name, _) in &roles {
            role_lengths |= 1 << name.len().min(63);
            role_firsts[usize::from(name.bytes().next().unwrap_or(0))] = true;
        }
        Writer {
            builder: BatchBuilder::new(),
            roles,
            role_lengths,
            role_firsts,
            slots: [None; RANKS + 1],
            label_slots: vec![None; stream_fields.len()],
            aside: String::new(),
            own_time: None,
            message_renamed: false,
            label_values: vec![None; stream_fields.len()],
            stream_fields,
            given: options.labels.clone(),
            labels: options.labels.clone(),
            time_field: options.time_field.as_deref().map(Into::into),
            arrival: options.arrival,
            bounds: (options.time_min, options.time_max),
            out_of_range: options.out_of_range,
            one_batch: options.one_batch,
            accepted: 0,
        }
    }

    /// The time of records that have none.
    pub(super) fn arrival(&self) -> Timestamp {
        self.arrival
    }

    /// Sets the arrival of the records to come.
    pub(super) fn set_arrival(&mut self, arrival: Timestamp) {
        self.arrival = arrival;
    }

    /// Records finished.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Fields left out for a later one of the same name.
    pub(super) fn duplicates(&self) -> u64 {
        self.builder.duplicates()
    }

    /// Is a batch full?
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        let full = self.builder.text_bytes() >= BATCH_TEXT_BYTES || self.builder.memory() >= BATCH_MEMORY_BYTES;
        full && !self.one_batch
    }

    /// Takes the records so far, if there are any.
    pub(super) fn take(&mut self) -> Option<Batch> {
        if self.builder.is_empty() { None } else { Some(self.builder.take()) }
    }

    /// Begins a record; one that was begun and not finished is dropped.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.builder.begin();
        self.aside.clear();
        self.slots = [None; RANKS + 1];
        self.label_slots.fill(None);
        self.own_time = None;
        self.message_renamed = false;
    }

    /// Gives the record under way up.
    pub(super) fn abandon(&mut self) {
        self.builder.abandon();
    }

    #[inline]
    fn may_have_role(&self, name: &str) -> bool {
        self.role_lengths >> name.len().min(63) & 1 != 0
            && self.role_firsts[usize::from(name.as_bytes().first().copied().unwrap_or(0))]
    }

    /// Adds a field.
    #[inline]
    pub(super) fn field(&mut self, name: &str, tag: Tag, text: &str) {
        if !self.may_have_role(name) || !self.take_role(name, tag, text) {
            self.builder.field(name, tag, text);
        }
    }

    /// The bytes of a JSON key that `rest` begins with, its closing quote not among them, where that key is the one
    /// that most likely comes next. The names of the objects around it are `prefix`, each with a dot behind it.
    #[inline]
    pub(super) fn predicts(&self, rest: &[u8], prefix: &str) -> Option<usize> {
        let name = self.builder.predicted()?;
        let mut key = name.as_bytes();
        if !prefix.is_empty() {
            key = key.strip_prefix(prefix.as_bytes())?;
        }
        (rest.get(key.len()) == Some(&b'"') && begins(rest, key)).then_some(key.len())
    }

    /// The name that is predicted.
    pub(super) fn predicted(&self) -> &str {
        self.builder.predicted().unwrap_or_default()
    }

    /// Adds the field whose key [`Writer::predicts`] found.
    #[inline]
    pub(super) fn field_predicted(&mut self, tag: Tag, text: &str) {
        let Some(name) = self.builder.predicted() else { return };
        if self.may_have_role(name) && self.roles.iter().any(|(n, _)| **n == *name) {
            let name = name.to_string();
            if self.take_role(&name, tag, text) {
                return;
            }
        }
        self.builder.field_predicted(tag, text);
    }

    fn set_aside(&mut self, tag: Tag, text: &str) -> Slot {
        let start = self.aside.len();
        self.aside.push_str(text);
        Slot { tag, start, end: self.aside.len() }
    }

    /// Does what a name's roles ask. True where the value is no ordinary field, at least for now.
    fn take_role(&mut self, name: &str, tag: Tag, text: &str) -> bool {
        let mut taken = false;
        for i in 0..self.roles.len() {
            let role = match self.roles.get(i) {
                Some((n, role)) if **n == *name => *role,
                _ => continue,
            };
            match role {
                // A format that read the time itself leaves such names alone.
                Role::Time(_) if self.own_time.is_some() => {}
                Role::Time(rank) => {
                    self.slots[usize::from(rank)] = Some(self.set_aside(tag, text));
                    taken = true;
                }
                Role::Message => {
                    self.slots[MESSAGE] = Some(self.set_aside(tag, text));
                    taken = true;
                }
                Role::MessageField => {
                    self.message_renamed = true;
                    self.builder.field("message", tag, text);
                    taken = true;
                }
                Role::Label(index) => {
                    let slot = self.set_aside(tag, text);
                    if let Some(place) = self.label_slots.get_mut(index) {
                        *place = Some(slot);
                    }
                }
            }
        }
        taken
    }

    /// The record's time, from a format that has a place for it.
    pub(super) fn set_time(&mut self, time: Timestamp) {
        self.own_time = Some(time);
    }

    fn time_name(&self, rank: usize) -> &str {
        match rank {
            0 => self.time_field.as_deref().unwrap_or_default(),
            _ => TIME_FIELDS.get(rank - 1).copied().unwrap_or_default(),
        }
    }

    /// The time that the record came with, if it did, and the slot that it was taken from.
    fn find_time(&mut self) -> Result<(Option<Timestamp>, Option<Slot>), Reason> {
        if let Some(time) = self.own_time {
            return Ok((Some(time), None));
        }
        for rank in 0..RANKS {
            let Some(slot) = self.slots[rank] else { continue };
            let text = self.aside.get(slot.start..slot.end).unwrap_or_default();
            if is_empty_value(slot.tag, text.as_bytes()) {
                continue;
            }
            let unsure = rank >= RANK_UNSURE;
            match time::read_value(slot.tag, text, unsure) {
                Read::Time(time) => {
                    self.slots[rank] = None;
                    return Ok((Some(time), Some(slot)));
                }
                Read::OutOfRange(_) if self.out_of_range == OutOfRange::KeepAtArrival => {
                    self.slots[rank] = None;
                    return Ok((None, Some(slot)));
                }
                Read::Unreadable(_) if unsure => {}
                Read::OutOfRange(why) | Read::Unreadable(why) => {
                    return Err(Reason::Time { field: self.time_name(rank).to_string(), why });
                }
            }
        }
        Ok((None, None))
    }

    /// Ends the record. Where it can't be taken, nothing of it stays.
    pub(super) fn finish(&mut self) -> Result<(), Reason> {
        let done = self.try_finish();
        match done {
            Ok(()) => self.accepted += 1,
            Err(_) => self.builder.abandon(),
        }
        done
    }

    fn try_finish(&mut self) -> Result<(), Reason> {
        let (found, slot) = self.find_time()?;
        let mut original = if found.is_none() { slot } else { None };
        let (min, max) = self.bounds;
        let mut time = self.arrival;
        if let Some(found) = found {
            time = found;
            let early = found < min;
            if early || found > max {
                if self.out_of_range == OutOfRange::Reject {
                    let bound = if early { min } else { max };
                    return Err(Reason::OutOfRange { time: found, bound, early });
                }
                time = self.arrival;
                original = Some(match slot {
                    Some(slot) => slot,
                    None => self.set_aside(Tag::String, &found.to_string()),
                });
            }
        }
        self.put_back(original);
        if !self.stream_fields.is_empty() {
            self.find_labels();
        }
        Ok(self.builder.finish(time, &self.labels)?)
    }

    /// Values set aside that were not needed become fields.
    fn put_back(&mut self, original: Option<Slot>) {
        let Writer { builder, slots, aside, time_field, .. } = self;
        let text = |slot: Slot| aside.get(slot.start..slot.end).unwrap_or_default();
        for (rank, slot) in slots.iter().enumerate().take(RANKS) {
            let Some(slot) = *slot else { continue };
            let name = match rank {
                0 => time_field.as_deref().unwrap_or_default(),
                _ => TIME_FIELDS[rank - 1],
            };
            // `timestamp` is the name of the record's own time: an empty one is no value, and another one moves.
            if name != "timestamp" {
                builder.field(name, slot.tag, text(slot));
            } else if original.is_none() && !is_empty_value(slot.tag, text(slot).as_bytes()) {
                builder.field("original_timestamp", slot.tag, text(slot));
            }
        }
        if let Some(slot) = original {
            builder.field("original_timestamp", slot.tag, text(slot));
        }
        if let Some(slot) = slots[MESSAGE] {
            let name = if self.message_renamed { "original_message" } else { "message" };
            builder.field(name, slot.tag, text(slot));
        }
    }

    /// The labels that the record's fields say; made anew only where they differ from the record before.
    fn find_labels(&mut self) {
        let Writer { label_slots, label_values, aside, .. } = self;
        let mut changed = false;
        for (slot, before) in label_slots.iter().zip(label_values.iter_mut()) {
            let value = slot
                .filter(|s| matches!(s.tag, Tag::String | Tag::Number | Tag::Bool))
                .and_then(|s| aside.get(s.start..s.end))
                .filter(|text| !text.is_empty());
            if value != before.as_deref() {
                *before = value.map(Into::into);
                changed = true;
            }
        }
        if changed {
            let fields = self.stream_fields.iter().zip(&self.label_values);
            let fields = fields.filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)));
            // What comes last wins.
            self.labels = Labels::new(fields.chain(self.given.iter()));
        }
    }
}
