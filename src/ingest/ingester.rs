//! Input in chunks to batches: finds the lines, hands each to its format, and counts.

use super::json::{Element, Elements, JsonError, ObjectReader, Pretty, Step, is_value};
use super::lines::{Line, Lines};
use super::multiline::Joiner;
use super::sniff::{self, Plan, SAMPLE_BYTES_MAX};
use super::text::{self, TextLine};
use super::writer::Writer;
use super::{Format, IngestOptions, Reason, Rejected, Sink, clf, logfmt, syslog};
use crate::record::Timestamp;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What became of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records made.
    pub accepted: u64,
    /// Lines (or elements, or records of several lines) that were not taken.
    pub rejected: u64,
    /// Fields left out since a later one of the same record had the same name.
    pub duplicate_fields: u64,
}

/// Reads one input, chunk by chunk. Batches and rejections go to the [`Sink`] that each call is given.
///
/// ```
/// use duramen::ingest::{Collected, IngestOptions, Ingester};
/// use duramen::record::Timestamp;
///
/// let mut ingester = Ingester::new(&IngestOptions::new(Timestamp::now()));
/// let mut out = Collected::default();
/// ingester.feed(b"{\"level\":\"error\",\"mess", &mut out).unwrap();
/// ingester.feed(b"age\":\"reset\"}\n{oops}\n", &mut out).unwrap();
/// let counts = ingester.finish(&mut out).unwrap();
/// assert_eq!((counts.accepted, counts.rejected), (1, 1));
/// assert_eq!(out.rejections.first[0].line, 2);
/// ```
#[derive(Debug)]
pub struct Ingester {
    format: Format,
    /// The beginning of the input, while the format is not settled.
    head: Vec<u8>,
    framing: Framing,
    lines: Lines,
    core: Core,
}

#[derive(Debug)]
enum Framing {
    Unsettled,
    /// White space before the array, on this line.
    BeforeArray(u64),
    Array(Box<Elements>),
    Lines,
}

impl Ingester {
    /// Ready for the first chunk.
    pub fn new(options: &IngestOptions) -> Self {
        Ingester {
            format: options.format,
            head: Vec::new(),
            framing: Framing::Unsettled,
            lines: Lines::default(),
            core: Core::new(options),
        }
    }

    /// What became of the input so far. Lines held back, of which more may come, are not in it.
    pub fn counts(&self) -> Counts {
        Counts {
            accepted: self.core.writer.accepted(),
            rejected: self.core.rejected,
            duplicate_fields: self.core.writer.duplicates(),
        }
    }

    /// Sets the time that records get which have none of their own, from now on: for inputs that arrive over hours.
    pub fn set_arrival(&mut self, arrival: Timestamp) {
        self.core.writer.set_arrival(arrival);
    }

    /// Takes the next chunk. An error is the sink's; what the sink did not take then is lost.
    pub fn feed<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<(), S::Error> {
        self.run(bytes, false, sink)
    }

    /// Hands out what is there, without an end of the input: for a source that has gone quiet. It settles the format
    /// by what has come so far, and ends a text that more lines could have joined; a line without its end stays.
    pub fn flush<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        if matches!(self.framing, Framing::Unsettled) && self.head.contains(&b'\n') {
            let head = std::mem::take(&mut self.head);
            self.settle(&head, true);
            self.framed(without_mark(&head), false, sink)?;
        }
        self.core.end_text(&mut |r| sink.rejected(r));
        self.core.writer.take().map_or(Ok(()), |batch| sink.batch(batch))
    }

    /// Ends the input.
    pub fn finish<S: Sink>(mut self, sink: &mut S) -> Result<Counts, S::Error> {
        self.run(&[], true, sink)?;
        Ok(self.counts())
    }

    fn run<S: Sink>(&mut self, bytes: &[u8], last: bool, sink: &mut S) -> Result<(), S::Error> {
        if !matches!(self.framing, Framing::Unsettled) {
            return self.framed(bytes, last, sink);
        }
        if self.head.is_empty() && self.settle(bytes, last) {
            return self.framed(without_mark(bytes), last, sink);
        }
        // So much always settles it: the sample, and a byte order mark before it.
        let room = (SAMPLE_BYTES_MAX + BYTE_ORDER_MARK.len()).saturating_sub(self.head.len()).min(bytes.len());
        let (now, later) = bytes.split_at(room);
        self.head.extend_from_slice(now);
        let head = std::mem::take(&mut self.head);
        if !self.settle(&head, last) {
            self.head = head;
            return Ok(());
        }
        self.framed(without_mark(&head), false, sink)?;
        self.framed(later, last, sink)
    }

    /// Settles the format by the beginning of the input, if that is enough.
    fn settle(&mut self, head: &[u8], last: bool) -> bool {
        if !last && head.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(head) {
            return false;
        }
        let Some(plan) = sniff::plan(self.format, without_mark(head), last, self.core.writer.arrival()) else {
            return false;
        };
        self.core.plan = plan;
        self.framing = if plan.array { Framing::BeforeArray(1) } else { Framing::Lines };
        true
    }

    fn framed<S: Sink>(&mut self, bytes: &[u8], last: bool, sink: &mut S) -> Result<(), S::Error> {
        let mut rest = bytes;
        if let Framing::BeforeArray(line) = &mut self.framing {
            let bracket = memchr::memchr(b'[', rest);
            let space = rest.get(..bracket.unwrap_or(rest.len())).unwrap_or_default();
            *line += memchr::memchr_iter(b'\n', space).count() as u64;
            if let Some(at) = bracket {
                rest = rest.get(at + 1..).unwrap_or_default();
                self.framing = Framing::Array(Box::new(Elements::new(*line)));
            }
        }
        if let Framing::Array(elements) = &mut self.framing {
            match self.core.array(elements, &mut rest, last, sink)? {
                // What stands behind the array are lines, the first of which has begun already.
                true => {
                    self.lines.number = elements.line - 1;
                    self.framing = Framing::Lines;
                }
                false => rest = &[],
            }
        }
        while let Some((number, line)) = self.lines.next(&mut rest, last) {
            self.core.line(number, line, &mut |r| sink.rejected(r));
            self.core.hand_out(sink)?;
        }
        if last {
            self.core.end(&mut |r| sink.rejected(r));
            self.core.writer.take().map_or(Ok(()), |batch| sink.batch(batch))?;
        }
        Ok(())
    }
}

fn without_mark(head: &[u8]) -> &[u8] {
    head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head)
}

/// Reads a complete input; lines are not copied.
pub fn ingest_slice<S: Sink>(options: &IngestOptions, bytes: &[u8], sink: &mut S) -> Result<Counts, S::Error> {
    let mut ingester = Ingester::new(options);
    ingester.run(bytes, true, sink)?;
    Ok(ingester.counts())
}

/// Who is told of rejections.
type Reject<'a> = &'a mut dyn FnMut(Rejected<'_>);

/// What does not depend on chunks: a line, or an element, to records.
#[derive(Debug)]
struct Core {
    plan: Plan,
    join_lines: bool,
    writer: Writer,
    objects: ObjectReader,
    pretty: Pretty,
    joiner: Joiner,
    rejected: u64,
}

impl Core {
    fn new(options: &IngestOptions) -> Self {
        Core {
            plan: Plan { format: options.format, guessed: false, array: false },
            join_lines: options.join_lines,
            writer: Writer::new(options),
            objects: ObjectReader::default(),
            pretty: Pretty::default(),
            joiner: Joiner::default(),
            rejected: 0,
        }
    }

    fn hand_out<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        match self.writer.is_full() {
            true => self.writer.take().map_or(Ok(()), |batch| sink.batch(batch)),
            false => Ok(()),
        }
    }

    fn reject(&mut self, line: u64, reason: &Reason, raw: &[u8], reject: Reject<'_>) {
        self.rejected += 1;
        reject(Rejected::new(line, reason, raw));
    }

    /// Takes the elements of an array from `rest`. True where the array is closed.
    fn array<S: Sink>(
        &mut self,
        elements: &mut Elements,
        rest: &mut &[u8],
        last: bool,
        sink: &mut S,
    ) -> Result<bool, S::Error> {
        while let Some(element) = elements.next(rest) {
            if element == Element::End {
                return Ok(true);
            }
            self.element(element, &mut |r| sink.rejected(r));
            self.hand_out(sink)?;
        }
        if last {
            if let Some(element) = elements.last() {
                self.element(element, &mut |r| sink.rejected(r));
            }
            self.reject(elements.line, &JsonError::ArrayEnds.into(), b"", &mut |r| sink.rejected(r));
        }
        Ok(false)
    }

    fn element(&mut self, element: Element<'_>, reject: Reject<'_>) {
        match element {
            Element::Whole(bytes, line) => self.object(line, bytes.trim_ascii_end(), reject),
            Element::TooLong(bytes, line) => self.reject(line, &Reason::LineTooLong, bytes, reject),
            Element::Missing(line) => self.reject(line, &JsonError::MissingElement.into(), b"", reject),
            Element::End => {}
        }
    }

    fn line(&mut self, number: u64, line: Line<'_>, reject: Reject<'_>) {
        let line = match line {
            Line::Whole(line) if line.iter().all(u8::is_ascii_whitespace) => return,
            Line::Whole(line) => line,
            Line::TooLong(head) => {
                self.end(reject);
                return self.reject(number, &Reason::LineTooLong, head, reject);
            }
        };
        match self.plan.format {
            Format::Json => self.json_line(number, line, reject),
            Format::Text | Format::Auto => {
                // Among text, what is no object after all is text.
                let object = self.plan.guessed && sniff::looks_like_json(line);
                if !(object && self.text_may_be_object(line, reject)) {
                    self.text_line(number, line, reject);
                }
            }
            Format::Logfmt | Format::Syslog | Format::Clf => self.structured_line(number, line, reject),
        }
    }

    /// Ends what is held back.
    fn end(&mut self, reject: Reject<'_>) {
        self.end_text(reject);
        if self.pretty.is_open() {
            self.broken_object(reject);
        }
    }

    fn json_line(&mut self, number: u64, line: &[u8], reject: Reject<'_>) {
        match self.pretty.line(number, line) {
            Step::Pass => {}
            Step::Held => return self.end_text(reject),
            Step::Whole if self.pretty.too_long => {
                let text = self.pretty.take();
                return self.reject(self.pretty.start_line, &Reason::LineTooLong, &text, reject);
            }
            Step::Whole => {
                let text = self.pretty.take();
                return self.object(self.pretty.start_line, text.trim_ascii_end(), reject);
            }
            Step::Broken => {
                self.broken_object(reject);
                return self.json_line(number, line, reject);
            }
        }
        if !self.plan.guessed || sniff::opens_brace(line) {
            return self.object(number, line, reject);
        }
        let reason = if is_value(line) {
            JsonError::NotAnObject.into()
        } else if let Some(at) = text::binary_at(line) {
            Reason::Binary(at)
        } else {
            return self.text_line(number, line, reject);
        };
        self.end_text(reject);
        self.reject(number, &reason, line, reject);
    }

    /// The object over several lines that is under way does not end.
    fn broken_object(&mut self, reject: Reject<'_>) {
        let too_long = self.pretty.too_long;
        let text = self.pretty.take();
        let reason = if too_long { Reason::LineTooLong } else { JsonError::ends(text.trim_ascii_end()).into() };
        self.reject(self.pretty.start_line, &reason, text.trim_ascii_end(), reject);
    }

    fn object(&mut self, number: u64, bytes: &[u8], reject: Reject<'_>) {
        self.end_text(reject);
        if let Err(reason) = self.try_object(bytes) {
            self.reject(number, &reason, bytes, reject);
        }
    }

    fn try_object(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let text = std::str::from_utf8(bytes).map_err(|e| Reason::Utf8(e.valid_up_to()))?;
        self.writer.begin();
        if let Err(error) = self.objects.read(text, &mut self.writer) {
            self.writer.abandon();
            return Err(error.into());
        }
        self.writer.finish()
    }

    /// Among text: takes the line as an object, if it is one.
    fn text_may_be_object(&mut self, line: &[u8], reject: Reject<'_>) -> bool {
        self.end_text(reject);
        self.try_object(line).is_ok()
    }

    fn structured_line(&mut self, number: u64, line: &[u8], reject: Reject<'_>) {
        let text = text::lossy(line);
        if self.joiner.joins(&text) {
            return;
        }
        self.end_text(reject);
        self.writer.begin();
        let parsed = match self.plan.format {
            Format::Logfmt => logfmt::parse(&text, &mut self.writer),
            Format::Clf => clf::parse(&text, &mut self.writer),
            _ => syslog::parse(&text, &mut self.writer),
        };
        let done = match parsed {
            Err(_) if self.plan.guessed => {
                self.writer.abandon();
                if !(sniff::looks_like_json(line) && self.try_object(line).is_ok()) {
                    self.text_line(number, line, reject);
                }
                return;
            }
            Err(reason) => {
                self.writer.abandon();
                Err(reason)
            }
            Ok(()) => self.writer.finish(),
        };
        if let Err(reason) = done {
            self.reject(number, &reason, line, reject);
        }
    }

    fn text_line(&mut self, number: u64, line: &[u8], reject: Reject<'_>) {
        let text = text::lossy(line);
        if self.joiner.joins(&text) {
            return;
        }
        self.end_text(reject);
        self.joiner.begin(number, &text, self.writer.arrival());
        if !self.join_lines {
            self.end_text(reject);
        }
    }

    /// The text held back becomes a record.
    fn end_text(&mut self, reject: Reject<'_>) {
        let Some(held) = self.joiner.take() else { return };
        let arrival = self.writer.arrival();
        self.writer.set_arrival(held.arrival);
        self.writer.begin();
        TextLine::read(&held.text, held.arrival).write(&held.text, &mut self.writer);
        let done = self.writer.finish();
        self.writer.set_arrival(arrival);
        if let Err(reason) = done {
            self.reject(held.line, &reason, held.text.as_bytes(), reject);
        }
        self.joiner.give_back(held.text);
    }
}
