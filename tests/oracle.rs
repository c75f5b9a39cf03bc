//! The engine against the oracle: random records, random queries, every state of storage.
//!
//! `DURAMEN_ORACLE_ROUNDS` draws more, `DURAMEN_ORACLE_SEED` starts elsewhere. A divergence prints its seed, the query
//! and the fewest records that show it.

#[path = "oracle/mod.rs"]
mod oracle;
mod support;

use oracle::draw::{Draw, json, records};
use oracle::engine::{Engine, PLANS, Step};
use oracle::pipes::{Window, difference, run};
use oracle::tree::{Filter, Printer, Query};
use oracle::{Rec, number::time_text};
use support::rng::{Rng, from_env};

/// One question: a tree, how it is spelled, and the window around it.
#[derive(Debug, Clone)]
struct Question {
    query: Query,
    spelling: u64,
    window: Window,
}

impl Question {
    fn text(&self) -> String {
        Printer::new(self.spelling).query(&self.query)
    }

    fn wrong(&self, records: &[Rec], engine: &Engine) -> Option<String> {
        let expected = run(records, &self.query, &self.window);
        match engine.ask(&self.text(), &self.window) {
            Ok(rows) => difference(&expected, &rows),
            Err(error) => Some(error),
        }
    }
}

fn window(draw: &mut Draw) -> Window {
    if draw.rng.chance(70) {
        return Window::default();
    }
    let times: Vec<i64> = (0..2).map(|_| draw.records[draw.rng.below(draw.records.len())].time).collect();
    Window {
        start: draw.rng.chance(50).then(|| times[0].min(times[1])),
        end: draw.rng.chance(50).then(|| times[0].max(times[1])),
        limit: draw.rng.chance(50).then(|| 1 + draw.rng.below(40)),
        offset: if draw.rng.chance(30) { draw.rng.below(20) } else { 0 },
    }
}

/// Parts of the query that may show the same divergence.
fn simpler(query: &Query) -> Vec<Query> {
    let with = |filter: &Filter| Query { filter: filter.clone(), pipes: query.pipes.clone() };
    let mut out: Vec<Query> = match &query.filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().map(with).collect(),
        Filter::Not(inner) => vec![with(inner)],
        Filter::All => vec![],
        _ => vec![with(&Filter::All)],
    };
    for at in 0..query.pipes.len() {
        let mut fewer = query.clone();
        fewer.pipes.remove(at);
        out.push(fewer);
    }
    out
}

/// The simplest question and the fewest records that still go wrong.
fn shrink(mut question: Question, mut records: Vec<Rec>, steps: &[Step], beside: bool) -> (Question, Vec<Rec>) {
    let build = |records: &[Rec]| {
        let mut engine = Engine::new(records, steps, 0);
        if beside {
            engine.read_beside();
        }
        engine
    };
    let engine = build(&records);
    while let Some(smaller) = simpler(&question.query)
        .into_iter()
        .map(|query| Question { query, ..question.clone() })
        .find(|q| q.wrong(&records, &engine).is_some())
    {
        question = smaller;
    }
    let mut portion = records.len() / 2;
    while portion > 0 {
        let mut at = 0;
        while at < records.len() && records.len() > 1 {
            let mut fewer = records.clone();
            fewer.drain(at..(at + portion).min(records.len()));
            if !fewer.is_empty() && question.wrong(&fewer, &build(&fewer)).is_some() {
                records = fewer
            } else {
                at += portion
            }
        }
        portion /= 2;
    }
    (question, records)
}

fn report(seed: u64, plan: &str, question: &Question, records: &[Rec], steps: &[Step], beside: bool) -> String {
    let (question, records) = shrink(question.clone(), records.to_vec(), steps, beside);
    let mut engine = Engine::new(&records, steps, 0);
    if beside {
        engine.read_beside();
    }
    let wrong = question.wrong(&records, &engine).unwrap_or_else(|| "(not shown again)".into());
    let shown: Vec<String> =
        records.iter().take(8).map(|r| format!("{} {:?} {}", time_text(r.time), r.labels, json(r))).collect();
    format!(
        "seed {seed}, state `{plan}`{}\nquery: {}\n{:?}\n{wrong}\nwith {} records:\n{}",
        if beside { ", read beside" } else { "" },
        question.text(),
        question.window,
        records.len(),
        shown.join("\n")
    )
}

/// Asks many questions of one store; the first that goes wrong is shrunk and told.
fn round(seed: u64, records: &[Rec], plan: &(&str, &[Step]), questions: u64, tally: &mut Tally) -> Option<String> {
    let mut rng = Rng::new(seed ^ 0xabcd);
    let (name, steps) = *plan;
    let beside = rng.chance(25);
    let mut engine = Engine::new(records, steps, seed);
    if beside {
        engine.read_beside();
    }
    let mut draw = Draw { rng, records };
    for _ in 0..questions {
        let question = Question { query: draw.query(), spelling: draw.rng.next(), window: window(&mut draw) };
        tally.asked += 1;
        tally.with_rows += u64::from(!run(records, &question.query, &question.window).rows.is_empty());
        if question.wrong(records, &engine).is_some() {
            return Some(report(seed, name, &question, records, steps, beside));
        }
    }
    None
}

#[derive(Default)]
struct Tally {
    asked: u64,
    with_rows: u64,
}

#[test]
fn the_engine_answers_as_the_oracle_does() {
    let first = from_env("DURAMEN_ORACLE_SEED", 1);
    let rounds = from_env("DURAMEN_ORACLE_ROUNDS", 20);
    let size = from_env("DURAMEN_ORACLE_RECORDS", 250) as usize;
    let questions = from_env("DURAMEN_ORACLE_QUERIES", 60);
    let stop_after = from_env("DURAMEN_ORACLE_REPORTS", 5) as usize;
    let (mut found, mut tally) = (Vec::new(), Tally::default());
    for seed in first..first + rounds {
        let mut rng = Rng::new(seed);
        let count = 1 + rng.below(size * 2);
        let records = records(&mut rng, count);
        found.extend(round(seed, &records, &PLANS[seed as usize % PLANS.len()], questions, &mut tally));
        if found.len() >= stop_after {
            break;
        }
    }
    assert!(found.is_empty(), "{} divergences:\n\n{}", found.len(), found.join("\n\n"));
    let Tally { asked, with_rows } = tally;
    assert!(with_rows * 2 > asked, "queries must find something: {with_rows} of {asked} do");
}

/// More than one block a segment. With `DURAMEN_ORACLE_LARGE=140000` segments get a dictionary of terms.
#[test]
fn large_segments_answer_as_the_oracle_does() {
    let count = from_env("DURAMEN_ORACLE_LARGE", 18_000) as usize;
    let seed = from_env("DURAMEN_ORACLE_SEED", 1);
    let records = records(&mut Rng::new(seed), count);
    let steps = &[Step::Append, Step::Seal];
    let questions = from_env("DURAMEN_ORACLE_LARGE_QUERIES", 25);
    let wrong = round(seed, &records, &("one large segment", steps), questions, &mut Tally::default());
    assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
}

/// The comparison itself can fail: an answer that lacks a row, has one too many, or another value is told apart.
#[test]
fn a_wrong_answer_is_noticed() {
    let records = records(&mut Rng::new(3), 40);
    let query = Query { filter: Filter::All, pipes: Vec::new() };
    let engine = Engine::new(&records, &[Step::Append], 3);
    let expected = run(&records, &query, &Window::default());
    let right = engine.ask("*", &Window::default()).unwrap();
    assert_eq!(difference(&expected, &right), None);
    let mut swapped = right.clone();
    swapped.swap(0, 1);
    let mut altered = right.clone();
    altered[7].insert("id".into(), support::json::Val::str("r99999"));
    let mut poorer = right.clone();
    poorer[7].remove("category");
    for wrong in [&right[1..], &[&right[..], &right[..1]].concat(), &swapped, &altered, &poorer] {
        assert!(difference(&expected, wrong).is_some());
    }
}
