//! The query and its bounds, as commands take them.

use crate::failure::Failure;
use duramen::front::parse_time;
use duramen::record::Timestamp;
use duramen::{QueryOptions, query};

/// A query with its bounds.
#[derive(clap::Args, Clone, Debug)]
pub struct FilterArgs {
    /// From so long ago until now: 1h, 30m, 7d
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["start", "end"])]
    since: Option<String>,
    /// From this time on: RFC 3339, Unix s, ms or ns, now-1h, 1h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start: Option<String>,
    /// Until before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    end: Option<String>,
    /// At most so many rows
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Leave out so many rows first
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    offset: u64,
    /// Fail where damaged records might match, in place of an answer without them
    #[arg(long)]
    strict: bool,
    /// The query; everything where none is given
    #[arg(value_name = "QUERY")]
    pub query: Option<String>,
}

impl FilterArgs {
    /// The query's text.
    pub fn text(&self) -> &str {
        self.query.as_deref().unwrap_or("*")
    }

    /// The options, with times resolved against now. The query is parsed here, so that what does not parse is told
    /// before anything is opened.
    pub fn options(&self) -> Result<QueryOptions, Failure> {
        query::parse(self.text())?;
        let now = Timestamp::now();
        let time = |text: &Option<String>| {
            text.as_deref().map(|t| parse_time(t, now).map_err(|e| Failure::Usage(e.to_string()))).transpose()
        };
        Ok(QueryOptions {
            start: time(&self.start)?.or(time(&self.since)?),
            end: time(&self.end)?,
            limit: self.limit,
            offset: self.offset,
            now: Some(now),
            strict: self.strict,
            ..QueryOptions::default()
        })
    }
}
