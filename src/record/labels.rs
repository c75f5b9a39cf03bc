//! Stream labels: the canonical sorted set, its text and its id.

use super::json::write_json_string;
use std::fmt;

/// The labels of a stream, sorted by name, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Vec<(Box<str>, Box<str>)>);

/// Most labels that a stream may have.
pub const LABELS_MAX: usize = 64;

impl Labels {
    /// Sorts, and keeps the last value of a name that comes twice. Labels with an empty value are left out, as in
    /// Prometheus and Loki, where an empty label is a missing one.
    pub fn new<N: Into<Box<str>>, V: Into<Box<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut all: Vec<(Box<str>, Box<str>)> = pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        all.reverse();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|later, first| later.0 == first.0);
        all.retain(|(_, v)| !v.is_empty());
        Labels(all)
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (&**n, &**v))
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.binary_search_by(|(n, _)| (**n).cmp(name)).ok().map(|i| &*self.0[i].1)
    }

    /// No labels at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The stream's id: the first 128 bits of the BLAKE3 of the canonical text.
    pub fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        id.copy_from_slice(&blake3::hash(self.to_string().as_bytes()).as_bytes()[..16]);
        id
    }

    /// Reads the canonical text that `Display` writes.
    pub fn parse(text: &str) -> Option<Labels> {
        let inner = text.strip_prefix('{')?.strip_suffix('}')?;
        let mut pairs: Vec<(Box<str>, Box<str>)> = Vec::new();
        let mut rest = inner;
        while !rest.is_empty() {
            // The name is a JSON string too where it is not a plain word.
            let (name, after) = if rest.starts_with('"') {
                read_json_string(rest)?
            } else {
                let end = rest.find('=')?;
                (rest[..end].to_string(), &rest[end..])
            };
            let (value, after) = read_json_string(after.strip_prefix('=')?)?;
            pairs.push((name.into(), value.into()));
            rest = match after.strip_prefix(',') {
                Some(more) if !more.is_empty() => more,
                None if after.is_empty() => after,
                _ => return None,
            };
        }
        Some(Labels::new(pairs))
    }
}

fn read_json_string(text: &str) -> Option<(String, &str)> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = stream.next()?.ok()?;
    let used = stream.byte_offset();
    Some((value, &text[used..]))
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/'))
}

impl fmt::Display for Labels {
    /// The canonical text: `{name="value",other="value"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::from("{");
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            if is_plain(name) {
                out.push_str(name);
            } else {
                write_json_string(name, &mut out);
            }
            out.push('=');
            write_json_string(value, &mut out);
        }
        out.push('}');
        f.write_str(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for pairs in [vec![], vec![("a", "b")], vec![("service", "a\"b\n}"), ("app", "x,y=z"), ("odd name=", "1")]] {
            let labels = Labels::new(pairs);
            assert_eq!(Labels::parse(&labels.to_string()), Some(labels));
        }
        for bad in ["", "{", "{a}", "{a=b}", "{a=\"b\",}", "{a=\"b\"", "a=\"b\""] {
            assert_eq!(Labels::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn sorted_and_last_wins() {
        let labels = Labels::new([("b", "1"), ("a", "2"), ("b", "3"), ("empty", "")]);
        assert_eq!(labels.to_string(), r#"{a="2",b="3"}"#);
    }
}
