//! Stream labels as people write them.

use crate::record::Labels;

/// Why a text is no set of labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no label: `name=value` is, with commas between several")]
pub struct BadLabels(String);

/// Reads `k=v,k2=v2`, or the canonical text `{k="v"}`, which can hold every value.
pub fn parse_labels(text: &str) -> Result<Labels, BadLabels> {
    let text = text.trim();
    let cut = |part: &str| BadLabels(part.chars().take(80).collect());
    if text.starts_with('{') {
        return Labels::parse(text).ok_or_else(|| cut(text));
    }
    if text.is_empty() {
        return Ok(Labels::default());
    }
    let pairs = text.split(',').map(|part| match part.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim(), value.trim())),
        _ => Err(cut(part)),
    });
    Ok(Labels::new(pairs.collect::<Result<Vec<_>, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, expect) in [
            ("", "{}"),
            ("app=api, env=prod", r#"{app="api",env="prod"}"#),
            ("q=a=b", r#"{q="a=b"}"#),
            (r#"{q="a,b"}"#, r#"{q="a,b"}"#),
        ] {
            assert_eq!(parse_labels(text).map(|l| l.to_string()).as_deref(), Ok(expect), "{text}");
        }
        for bad in ["app", "app=api,", "=x", "{app=api}"] {
            assert!(parse_labels(bad).is_err(), "{bad}");
        }
    }
}
