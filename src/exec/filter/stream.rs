//! Tests of the labels of a stream.

use super::regex::compile;
use crate::exec::ExecError;
use crate::query::ast::{LabelOp, LabelTest};
use crate::record::Labels;

/// `{service="api", env=~"prod.*"}`, ready to be tested.
#[derive(Debug)]
pub(crate) struct StreamTest {
    labels: Vec<(Box<str>, Op)>,
}

#[derive(Debug)]
enum Op {
    Equal(Box<str>, bool),
    Matches(regex::bytes::Regex, bool),
}

impl StreamTest {
    pub(crate) fn new(tests: &[LabelTest]) -> Result<Self, ExecError> {
        // As in Prometheus, an expression must match the whole value.
        let whole = |pattern: &str| {
            // Alone first, so that an unbalanced parenthesis can't close the group around it.
            compile(pattern, false)?;
            compile(&format!("^(?:{pattern})$"), false)
        };
        let labels = tests.iter().map(|test| {
            let op = match &test.op {
                LabelOp::Equal(value) => Op::Equal(value.clone(), true),
                LabelOp::NotEqual(value) => Op::Equal(value.clone(), false),
                LabelOp::Matches(pattern) => Op::Matches(whole(pattern)?, true),
                LabelOp::NotMatches(pattern) => Op::Matches(whole(pattern)?, false),
            };
            Ok((test.label.clone(), op))
        });
        Ok(StreamTest { labels: labels.collect::<Result<_, ExecError>>()? })
    }

    /// Do they hold of the stream with this canonical text?
    pub(crate) fn matches(&self, canonical: &str) -> bool {
        let labels = Labels::parse(canonical).unwrap_or_default();
        self.labels.iter().all(|(label, op)| {
            let value = labels.get(label).unwrap_or_default();
            match op {
                Op::Equal(expected, positive) => (value == &**expected) == *positive,
                Op::Matches(regex, positive) => regex.is_match(value.as_bytes()) == *positive,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let text = Labels::new([("service", "api"), ("env", "prod-1")]).to_string();
        let test = |label: &str, op: LabelOp| {
            StreamTest::new(&[LabelTest { label: label.into(), op }]).map(|t| t.matches(&text)).ok()
        };
        assert_eq!(test("service", LabelOp::Equal("api".into())), Some(true));
        assert_eq!(test("service", LabelOp::NotEqual("api".into())), Some(false));
        assert_eq!(test("env", LabelOp::Matches("prod".into())), Some(false));
        assert_eq!(test("env", LabelOp::Matches("x|prod.*".into())), Some(true));
        assert_eq!(test("missing", LabelOp::Equal("".into())), Some(true));
        assert_eq!(test("missing", LabelOp::NotMatches("x".into())), Some(true));
        assert_eq!(test("env", LabelOp::Matches("a)|(b".into())), None);
    }
}
