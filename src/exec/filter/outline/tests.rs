//! What is told of templates against their texts, put together and tested one by one.

use super::*;
use crate::exec::filter::{FieldKind, Scratch};
use crate::id::Seq;
use crate::query::ast::{Regex, Test, WildcardPart};
use crate::record::{
    Codes, Column, Data, Field, Fill, FillPlace, FixedForm, Form, Skeleton, Tag, Tags, Template, Texts, Timestamp, Zone,
};
use proptest::prelude::*;
use std::sync::Arc;

/// A hole: what is known of it, and texts that are in it.
#[derive(Clone, Debug)]
struct Hole {
    form: Form,
    texts: Vec<String>,
}

/// Literals and holes in turns, a literal more.
#[derive(Clone, Debug)]
struct Model {
    literals: Vec<String>,
    holes: Vec<Hole>,
}

impl Model {
    /// The text with these values, by number.
    fn text(&self, picks: &[usize], shift: usize) -> String {
        let holes = self.holes.iter().zip(picks).map(|(hole, pick)| &*hole.texts[(pick + shift) % hole.texts.len()]);
        self.literals.iter().map(String::as_str).zip(holes.chain([""])).map(|(l, h)| format!("{l}{h}")).collect()
    }
    fn outline(&self) -> Outline {
        let literals = self.literals.iter().map(|l| l.as_bytes().into()).collect();
        let template = Template { literals, holes: (0..self.holes.len() as u32).collect() };
        let fill = |hole: &Hole| match hole.form {
            Form::AmongThose(place) => Fill::of_texts(&texts(&those()), place),
            _ => Fill::new(hole.form.clone()),
        };
        let fills = self.holes.iter().map(fill).collect();
        Outline::new(Arc::new(Skeleton::new(vec![template], Codes::of([0], 1))), fills)
    }
}

fn texts(values: &[String]) -> Column {
    let mut texts = Texts::default();
    values.iter().for_each(|v| texts.push(v.as_bytes()));
    Column { tags: Tags::One(Tag::String), data: Data::Plain(texts) }
}

/// More than an outline holds.
fn those() -> Vec<String> {
    ["", "ab", "K1-", "a b", "\u{212a}b"].into_iter().map(String::from).chain(["ba ".repeat(2000)]).collect()
}

/// A block of which all is told that an outline may ask for.
#[derive(Debug)]
struct Those;

impl Block for Those {
    fn fill_texts(&self, _: FillPlace) -> Result<Option<Arc<Column>>, StorageError> {
        Ok(Some(Arc::new(texts(&those()))))
    }
    fn rows(&self) -> u32 {
        1
    }
    fn time_range(&self) -> (Timestamp, Timestamp) {
        (Timestamp(0), Timestamp(0))
    }
    fn seq_range(&self) -> (Seq, Seq) {
        (Seq(0), Seq(0))
    }
    fn times(&self) -> Result<Arc<Vec<i64>>, StorageError> {
        Ok(Arc::default())
    }
    fn seqs(&self) -> Result<Arc<Vec<u64>>, StorageError> {
        Ok(Arc::default())
    }
    fn streams(&self) -> Result<Arc<Column>, StorageError> {
        Ok(Arc::new(texts(&[])))
    }
    fn names(&self) -> Result<Vec<Arc<str>>, StorageError> {
        Ok(Vec::new())
    }
    fn zone(&self, _: &str) -> Result<Zone, StorageError> {
        Ok(Zone::Absent)
    }
    fn field(&self, _: &str) -> Result<Option<Field>, StorageError> {
        Ok(None)
    }
}

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[abkK1 -]{0,4}", 1 => "[ab]{0,2}(é|\u{130}|\u{212a}|ς)[ab]{0,2}", 1 => "[ab]{20,30}"]
}

fn hole(depth: u32) -> BoxedStrategy<Hole> {
    let fixed = |form: FixedForm| {
        move |bytes: Vec<u8>| {
            let values = bytes.chunks_exact(form.width()).map(|value| {
                let mut text = Vec::new();
                form.write(value, &mut text);
                String::from_utf8(text).expect("it is text")
            });
            Hole { form: Form::Fixed(form.clone()), texts: values.collect() }
        }
    };
    let bytes = |len: usize| proptest::collection::vec(prop_oneof![Just(0x0au8), Just(0xab), any::<u8>()], len);
    let hex = FixedForm::Hex { prefix: (*b"Ka").into(), width: 2 };
    let simple = prop_oneof![
        3 => proptest::collection::vec(prop_oneof![-12i64..120, any::<i64>()], 1..4)
            .prop_map(|n| Hole { form: Form::Integer, texts: n.iter().map(i64::to_string).collect() }),
        1 => proptest::collection::vec(-300i64..300, 1..4).prop_map(|n| {
            let write = |n: &i64| {
                let mut text = Vec::new();
                crate::record::write_decimal(*n, 1, &mut text);
                String::from_utf8(text).expect("it is text")
            };
            Hole { form: Form::Decimal(1), texts: n.iter().map(write).collect() }
        }),
        1 => bytes(8).prop_map(fixed(FixedForm::Ipv4)),
        1 => bytes(16).prop_map(fixed(FixedForm::Uuid)),
        1 => bytes(6).prop_map(fixed(hex)),
        5 => proptest::collection::vec(literal(), 1..4).prop_map(|values| {
            Hole { form: Form::Among(texts(&values).into()), texts: values }
        }),
        2 => Just(Hole { form: Form::AmongThose(FillPlace { column: 0, fill: None }), texts: those() }),
        // More than is followed one by one.
        1 => proptest::collection::vec(literal(), 1..4).prop_map(|values| {
            let long = ["b".repeat(5000)];
            let all = [&values[..], &long].concat();
            Hole { form: Form::Among(texts(&all).into()), texts: all }
        }),
    ];
    if depth == 0 {
        return simple.boxed();
    }
    let nested = (model(depth - 1), proptest::collection::vec(0usize..12, 3)).prop_map(|(model, picks)| Hole {
        texts: (0..4).map(|shift| model.text(&picks, shift)).collect(),
        form: Form::Templates(model.outline().into()),
    });
    prop_oneof![5 => simple, 1 => nested].boxed()
}

fn model(depth: u32) -> impl Strategy<Value = Model> {
    let holes = proptest::collection::vec((hole(depth), literal()), 0..4);
    (literal(), holes).prop_map(|(first, rest)| {
        let (holes, literals): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
        Model { literals: [first].into_iter().chain(literals).collect(), holes }
    })
}

fn test() -> impl Strategy<Value = Test> {
    let text = || prop_oneof![4 => "[abk1 -]{1,4}", 1 => "[abk]{0,2}[éσi][abk]{0,1}", 1 => "[ab]{3,7}"];
    let pieces = proptest::collection::vec(
        prop_oneof![
            "[abk1]{1,3}".prop_map(|t| WildcardPart::Literal(t.into())),
            Just(WildcardPart::Many),
            Just(WildcardPart::One)
        ],
        1..4,
    );
    let pattern = "([abkK1 -]|[ab]{2,3}|\\[0-9\\]\\+|\\[0-9\\]\\{2\\}|\\.|[a1]\\*|\\(ab\\|1\\|k\\)|\\^|\\$|\\\\b|\\\\w\\+|\\(\\?i:K\\)|a -|é){1,5}";
    prop_oneof![
        4 => text().prop_map(|t| Test::Phrase(t.into())),
        1 => "[ab]{126,132}".prop_map(|t| Test::Phrase(t.into())),
        2 => pieces.prop_map(|mut parts| {
            parts.dedup_by(|a, b| a == b && *a == WildcardPart::Many);
            Test::Wildcard(parts.into())
        }),
        1 => text().prop_map(|t| Test::Exact(t.into())),
        1 => proptest::collection::vec(text().prop_map(Into::into), 1..3).prop_map(Test::In),
        1 => (text(), text()).prop_map(|(a, b)| Test::Near { words: vec![a.into(), b.into()], distance: 1 }),
        1 => "[abk]{1,4}".prop_map(|w| Test::Fuzzy { word: w.into(), edits: 1 }),
        6 => (pattern, any::<bool>()).prop_map(|(pattern, ignore_case)| Test::Regex(Regex { pattern: pattern.into(), ignore_case })),
    ]
}

/// What is told, and a text that it is not true of.
fn contradiction(model: &Model, test: &ValueTest, picks: &[usize]) -> Option<(Found, String)> {
    let outlook = Outlook::new(test, &Needs::of(test));
    let found = *outlook.found(&model.outline(), &Those).expect("an answer")?.first()?;
    let texts = (0..12).map(|shift| model.text(picks, shift));
    texts.into_iter().map(|text| (found, text)).find(|(found, text)| {
        match test.matches(Tag::String, text, FieldKind::of("a"), &mut Scratch::default()) {
            true => *found == Found::Never,
            false => *found == Found::Always,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn templates_say_what_their_texts_say(
        model in model(2), test in test(), picks in proptest::collection::vec(0usize..12, 4),
    ) {
        let Ok(prepared) = ValueTest::new(&test) else { return Ok(()) };
        let found = contradiction(&model, &prepared, &picks);
        prop_assert_eq!(found, None, "{:?} in {:?}", test, model);
    }

    /// Long texts, so that what crosses borders is more than a bit.
    #[test]
    fn long_texts_are_followed(
        model in model(1), picks in proptest::collection::vec(0usize..12, 4), from in 0usize..20, len in 1usize..140,
        shift in 0usize..12,
    ) {
        let text: Vec<char> = crate::record::text::fold(&model.text(&picks, shift)).chars().collect();
        let part: String = text.iter().skip(from.min(text.len() / 2)).take(len).collect();
        let prepared = ValueTest::new(&Test::Phrase(part.as_str().into())).expect("a phrase");
        let found = contradiction(&model, &prepared, &picks);
        prop_assert_eq!(found, None, "{:?} in {:?}", part, model);
    }
}

#[test]
fn texts_that_are_not_held_are_looked_at() {
    let form = Form::AmongThose(FillPlace { column: 0, fill: None });
    let model =
        Model { literals: ["at ", ", over"].map(String::from).to_vec(), holes: vec![Hole { form, texts: Vec::new() }] };
    let check = |text: &str, expect: Found| {
        let prepared = ValueTest::new(&Test::Phrase(text.into())).expect("a test");
        let found = Outlook::new(&prepared, &Needs::of(&prepared)).found(&model.outline(), &Those);
        assert_eq!(found.expect("an answer").expect("something"), [expect], "{text}");
    };
    check("over", Found::Always);
    check("a b", Found::Perhaps);
    check("1-, over", Found::Perhaps);
    check("c d", Found::Never);
    // Of this each run of three bytes is there, the last of one text and the first of the next.
    check("abk1", Found::Never);
}

#[test]
fn most_templates_are_decided() {
    let hole = |form: Form| Hole { form, texts: Vec::new() };
    let words =
        |values: &[&str]| hole(Form::Among(texts(&values.iter().map(|v| v.to_string()).collect::<Vec<_>>()).into()));
    let slow = Model {
        literals: ["Slow query detected: ", " ms on shard-", "", "in 7 took ", "ms"].map(String::from).to_vec(),
        holes: vec![hole(Form::Integer), hole(Form::Integer), words(&[" (main) ", " (replica) "]), hole(Form::Integer)],
    };
    let phrase = |text: &str| Test::Phrase(text.into());
    let regex = |pattern: &str| Test::Regex(Regex { pattern: pattern.into(), ignore_case: false });
    let any_case = |pattern: &str| Test::Regex(Regex { pattern: pattern.into(), ignore_case: true });
    let check = |test: Test, expect: Found| {
        let prepared = ValueTest::new(&test).expect("a test");
        let found = Outlook::new(&prepared, &Needs::of(&prepared)).found(&slow.outline(), &Those);
        let found = found.expect("an answer").expect("something");
        assert_eq!(found, [expect], "{test:?}");
    };
    check(phrase("slow query"), Found::Always);
    check(phrase("low query"), Found::Never);
    check(phrase("deadlock detected"), Found::Never);
    check(phrase("detected: 12"), Found::Perhaps);
    check(phrase("detected:"), Found::Always);
    check(phrase("ms"), Found::Always);
    check(phrase("12 ms"), Found::Perhaps);
    check(phrase("12ms"), Found::Perhaps);
    check(phrase("took"), Found::Always);
    check(phrase("replica"), Found::Perhaps);
    check(phrase("repl"), Found::Perhaps);
    check(phrase("secondary"), Found::Never);
    check(Test::Wildcard([WildcardPart::Literal("que".into()), WildcardPart::Many].into()), Found::Always);
    check(Test::Wildcard([WildcardPart::Many, WildcardPart::Literal("que".into())].into()), Found::Never);
    check(regex("[0-9]+ms$"), Found::Always);
    check(regex("^Slow .* [0-9]{4}ms$"), Found::Perhaps);
    check(regex("[0-9]+s$"), Found::Never);
    check(regex("shard--?\\d+ \\((main|replica)\\)"), Found::Always);
    check(regex("shard-\\d+ \\("), Found::Perhaps);
    check(regex("shard-[a-z]"), Found::Never);
    check(regex("\\bdetected\\b"), Found::Always);
    check(any_case("SLOW QUERY"), Found::Always);
    check(any_case("deadlock"), Found::Never);
}
