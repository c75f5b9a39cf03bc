//! A worker that logs plain text, with stack traces over several lines.

use super::{Dice, times};
use duramen::record::Timestamp;

pub(super) fn log(end: Timestamp) -> String {
    let mut dice = Dice(44);
    let mut out = String::new();
    for (i, time) in times(end, 280, 13_000).enumerate() {
        let text = time.to_string();
        // 2025-01-02T03:04:05.678Z as 2025-01-02 03:04:05.678.
        let when = text.replace('T', " ").trim_end_matches('Z').to_string();
        let thread = dice.below(4);
        if (170..200).contains(&i) && dice.rarely(3) {
            out.push_str(&format!(
                "{when} ERROR [worker-{thread}] job {} failed: java.sql.SQLTransientConnectionException: connection reset\n\
                 \tat com.shop.db.Pool.take(Pool.java:88)\n\
                 \tat com.shop.jobs.Invoice.run(Invoice.java:{})\n\
                 Caused by: java.net.SocketTimeoutException: Read timed out\n\
                 \t... 14 more\n",
                9000 + i,
                40 + dice.below(9),
            ));
            continue;
        }
        let line = match dice.below(4) {
            0 => format!("INFO [worker-{thread}] job {} taken from queue invoices", 9000 + i),
            1 => format!("INFO [worker-{thread}] job {} done in {} ms", 9000 + i, 20 + dice.below(900)),
            2 => format!("DEBUG [worker-{thread}] {} jobs wait", dice.below(30)),
            _ => format!("WARN [worker-{thread}] job {} tried again ({} of 5)", 9000 + i, 1 + dice.below(5)),
        };
        out.push_str(&format!("{when} {line}\n"));
    }
    out
}
