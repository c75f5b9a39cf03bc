//! Names of filters, pipes and functions: those that exist, those that come later, and what others call them.

/// Filter functions that exist.
pub(super) const FILTERS: &[&str] = &["in", "range", "ipv4_range", "ipv6_range"];

/// Filter functions of LogsQL that are not supported yet, with what to write instead where there is something.
pub(super) const LATER_FILTERS: &[(&str, &str)] = &[
    ("seq", "for words in any order near each other there is `\"a b\"~9`"),
    ("i", "words, phrases and patterns ignore case already; for an expression write `/re/i`"),
    ("contains_all", "write `field:(a AND b)`"),
    ("contains_any", "write `field:(a OR b)`"),
    ("contains_common_case", "words and phrases ignore case already: write `field:(a OR b)`"),
    ("equals_common_case", "write `field:/^word$/i`"),
    ("json_array_contains_any", "an array matches where one of its elements does: write `field:in(a, b)`"),
    ("pattern_match", "write a pattern with `*`, or a regular expression"),
    ("pattern_match_full", "write a regular expression"),
    ("pattern_match_prefix", "write a regular expression"),
    ("pattern_match_suffix", "write a regular expression"),
    ("len_range", ""),
    ("string_range", "compare with quoted texts: `field:[\"a\" TO \"b\"}`"),
    ("eq_field", ""),
    ("lt_field", ""),
    ("le_field", ""),
    ("value_type", ""),
    ("day_range", ""),
    ("week_range", ""),
    ("exact", "write `field=\"value\"`"),
    ("re", "write `field:~\"re\"`"),
    ("word", "write the word alone"),
    ("phrase", "write the phrase in quotes"),
    ("prefix", "write `pre*`"),
    ("stream", "write `{label=\"value\"}`"),
    ("eq", "write `field=\"value\"`"),
    ("gt", "write `field>value`"),
    ("ge", "write `field>=value`"),
    ("lt", "write `field<value`"),
    ("le", "write `field<=value`"),
];

/// Pipes that exist, in every spelling.
pub(super) const PIPES: &[&str] = &[
    "fields", "keep", "delete", "del", "drop", "rm", "filter", "where", "limit", "head", "offset", "skip", "sort",
    "order", "stats", "top", "uniq",
];

/// Pipes that are planned (language.md, section 3).
pub(super) const LATER_PIPES: &[&str] = &[
    "copy",
    "cp",
    "rename",
    "mv",
    "first",
    "last",
    "rare",
    "count",
    "timechart",
    "hits",
    "facets",
    "field_names",
    "field_values",
    "extract",
    "extract_regexp",
    "unpack_json",
    "unpack_logfmt",
    "unpack_syslog",
    "unpack_words",
    "unroll",
    "replace",
    "replace_regexp",
    "format",
    "math",
    "eval",
    "len",
    "hash",
    "json_array_len",
    "pack_json",
    "pack_logfmt",
    "collapse_nums",
    "decolorize",
    "drop_empty_fields",
    "sample",
    "join",
    "union",
    "stream_context",
    "context",
    "blocks_count",
    "block_stats",
    "patterns",
    "explain",
];

/// Pipes of other languages, with what to write here.
pub(super) const FOREIGN_PIPES: &[(&str, &str)] = &[
    ("json", "fields of JSON records are there without it; `unpack_json` comes later"),
    ("logfmt", "give the format when the records are taken in; `unpack_logfmt` comes later"),
    ("table", "write `| fields a, b`"),
    ("project", "write `| fields a, b`"),
    ("select", "write `| fields a, b`"),
    ("columns", "write `| fields a, b`"),
    ("search", "write `| filter ..`"),
    ("grep", "write the text as a phrase before the first pipe, or `| filter \"text\"`"),
    ("take", "write `| limit 10`"),
    ("tail", "write `| sort | limit 10`"),
    ("dedup", "write `| uniq by (a, b)`"),
    ("distinct", "write `| uniq by (a, b)`"),
    ("summarize", "write `| stats by (a) count()`"),
    ("aggregate", "write `| stats by (a) count()`"),
    ("group", "write `| stats by (a) count()`"),
    ("rex", "`extract_regexp` comes later"),
    ("regexp", "write `field:~\"re\"`; `extract_regexp` comes later"),
    ("parse", "`extract` comes later"),
    ("extend", "`math` comes later"),
    ("label_format", "`format` comes later"),
    ("line_format", "`format` comes later"),
    ("unwrap", "name the field in the function: `| stats avg(duration)`"),
    ("wc", "write `| stats count()`"),
    ("bin", "write `| stats by (_time:5m) count()`"),
    ("bucket", "write `| stats by (_time:5m) count()`"),
];

/// Stats functions that exist.
pub(super) const FUNCTIONS: &[&str] = &[
    "count",
    "count_uniq",
    "sum",
    "avg",
    "min",
    "max",
    "median",
    "quantile",
    "values",
    "uniq_values",
    "p50",
    "p75",
    "p90",
    "p95",
    "p99",
];

/// Stats functions that are planned.
pub(super) const LATER_FUNCTIONS: &[&str] = &[
    "count_empty",
    "count_uniq_hash",
    "stddev",
    "histogram",
    "rate",
    "rate_sum",
    "row_any",
    "row_min",
    "row_max",
    "sum_len",
    "json_values",
    "first",
    "last",
];

/// Stats functions of other languages, with what to write here.
pub(super) const FOREIGN_FUNCTIONS: &[(&str, &str)] = &[
    ("dc", "count_uniq"),
    ("distinct_count", "count_uniq"),
    ("count_distinct", "count_uniq"),
    ("dcount", "count_uniq"),
    ("cardinality", "count_uniq"),
    ("uniq", "count_uniq"),
    ("mean", "avg"),
    ("average", "avg"),
    ("total", "sum"),
    ("minimum", "min"),
    ("maximum", "max"),
    ("percentile", "quantile(0.95, field)"),
    ("perc95", "p95"),
    ("list", "values"),
    ("make_list", "values"),
    ("make_set", "uniq_values"),
    ("c", "count"),
];

/// Is this a function that other languages write around a filter?
pub(super) fn is_metric_query(name: &str) -> bool {
    const LOGQL: &[&str] = &["topk", "bottomk", "absent_over_time", "bytes_rate", "stdvar", "vector", "sort_desc"];
    let stats = FUNCTIONS.contains(&name) || LATER_FUNCTIONS.contains(&name);
    stats || LOGQL.contains(&name) || name.ends_with("_over_time")
}

/// The nearest of some names, as a hint; none where nothing is near.
pub(super) fn did_you_mean(name: &str, known: &[&str]) -> Option<String> {
    // Longer than any name by far: nothing is near, and the distance would be costly.
    if name.len() > 32 {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let near = if name.chars().count() <= 4 { 1 } else { 2 };
    let best = known.iter().map(|k| (edits(&name, k), *k)).min()?;
    (best.0 <= near).then(|| format!("Did you mean `{}`?", best.1))
}

/// Inserts, deletes, replacements and swaps of neighbours from one word to another. Row `i` and column `j` hold the
/// distance of the first `i` characters from the first `j`, so that every index below is of a cell that is there.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, &x) in a.iter().enumerate() {
        let above = &rows[i];
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut least = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names() {
        assert_eq!(did_you_mean("stat", PIPES).as_deref(), Some("Did you mean `stats`?"));
        assert_eq!(did_you_mean("limti", PIPES).as_deref(), Some("Did you mean `limit`?"));
        assert_eq!(did_you_mean("frobnicate", PIPES), None);
        assert_eq!(did_you_mean(&"x".repeat(10_000), PIPES), None);
    }

    #[test]
    fn no_name_is_both_there_and_to_come() {
        for name in LATER_PIPES {
            assert!(!PIPES.contains(name), "{name}");
        }
        for name in LATER_FUNCTIONS {
            assert!(!FUNCTIONS.contains(name), "{name}");
        }
    }
}
