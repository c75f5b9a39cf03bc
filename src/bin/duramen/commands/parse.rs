//! `duramen parse`.

use crate::failure::Failure;
use duramen::query;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufWriter, Write};
use std::process::ExitCode;

/// Prints the canonical text of a query, or what is wrong with it
#[derive(clap::Args)]
#[command(after_help = "Example: duramen parse 'level:error AND duration:>1000'\n         \
echo '{\"query\":\"a OR\"}' | duramen parse --batch")]
pub struct Args {
    /// Print the syntax tree as JSON
    #[arg(long)]
    json: bool,
    /// Read JSON lines {"query":".."} from stdin, and answer each with a line
    #[arg(long, conflicts_with = "query", required_unless_present = "query")]
    batch: bool,
    /// The query
    #[arg(value_name = "QUERY")]
    query: Option<String>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let Some(text) = &self.query else { return self.run_batch() };
        let parsed = query::parse(text)?;
        let mut out = io::stdout().lock();
        match self.json {
            true => writeln!(out, "{}", parsed.to_json())?,
            false => writeln!(out, "{parsed}")?,
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }

    fn run_batch(&self) -> Result<ExitCode, Failure> {
        let mut input = io::stdin().lock();
        let mut out = BufWriter::new(io::stdout());
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = input.read_until(b'\n', &mut line);
            if read.map_err(|e| Failure::Failed(format!("stdin: {e}")))? == 0 {
                break;
            }
            writeln!(out, "{}", self.answer(&line))?;
            // Whoever talks to us line by line waits for each answer; of a file there is more in the buffer.
            if input.fill_buf().map_or(true, <[u8]>::is_empty) {
                out.flush()?;
            }
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }

    fn answer(&self, line: &[u8]) -> Value {
        let bad = |message: String| json!({"ok": false, "error": {"code": "bad_request", "message": message}});
        let request: Value = match serde_json::from_slice(line) {
            Ok(request) => request,
            Err(error) => return bad(format!("the line is not JSON: {error}")),
        };
        let Some(text) = request.get("query").and_then(Value::as_str) else {
            return bad("the line has no string `query`".into());
        };
        match query::parse(text) {
            Ok(parsed) => {
                let mut answer = json!({"ok": true, "canonical": parsed.to_string()});
                if self.json {
                    answer["ast"] = parsed.to_json();
                }
                answer
            }
            Err(error) => json!({"ok": false, "error": error}),
        }
    }
}
