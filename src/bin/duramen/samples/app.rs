//! A service that logs JSON.

use super::{Dice, times};
use duramen::record::Timestamp;
use serde_json::json;

pub(super) fn log(end: Timestamp) -> String {
    let mut dice = Dice(11);
    let mut out = String::new();
    for (i, time) in times(end, 400, 9_000).enumerate() {
        let user = 100 + dice.below(40);
        let request = format!("{:08x}-{:04x}-4000-8000-{:012x}", dice.below(1 << 32), dice.below(1 << 16), i);
        // For some minutes the database is slow: what a query should find.
        let slow = (250..290).contains(&i);
        let mut duration = 4 + dice.below(60) + if dice.rarely(25) { 400 } else { 0 };
        let (mut level, mut status) = ("info", 200);
        let (message, route) = match dice.below(5) {
            0 => (format!("order {} placed", 5000 + i), "/orders"),
            1 => (format!("cart of user {user} updated"), "/cart"),
            2 => (format!("user {user} signed in"), "/login"),
            3 => (format!("payment of {}.{:02} EUR accepted", 5 + dice.below(200), dice.below(100)), "/payments"),
            _ => (format!("product {} shown", dice.below(900)), "/products"),
        };
        let mut message = message;
        if slow && !dice.rarely(3) {
            duration += 2_000 + dice.below(3_000);
            (level, status) = ("error", 503);
            message = format!("connection reset by database db-{}: timeout after {duration}ms", 1 + dice.below(2));
        } else if dice.rarely(30) {
            (level, status) = ("warn", 429);
            message = format!("user {user} sends too many requests");
        }
        let line = json!({
            "timestamp": time.to_string(), "level": level, "message": message, "route": route, "status": status,
            "duration": duration, "request_id": request, "user": {"id": user, "plan": dice.one(&["free", "pro"])},
        });
        out.push_str(&line.to_string());
        out.push('\n');
    }
    out
}
