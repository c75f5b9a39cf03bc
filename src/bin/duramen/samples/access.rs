//! A web server's access log, in the Combined Log Format.

use super::{Dice, times};
use duramen::record::Timestamp;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "curl/8.11.0",
    "ShopApp/4.2 (Android 15)",
];

pub(super) fn log(end: Timestamp) -> String {
    let mut dice = Dice(22);
    let mut out = String::new();
    for (i, time) in times(end, 500, 7_000).enumerate() {
        let text = time.to_string();
        let (_, month, _) = time.civil();
        let month = MONTHS.get(usize::try_from(month).unwrap_or(1).saturating_sub(1)).copied().unwrap_or("Jan");
        // 2025-01-02T03:04:05.678Z as 02/Jan/2025:03:04:05 +0000.
        let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
        let when = format!("{}/{month}/{}:{} +0000", part(8..10), part(0..4), part(11..19));
        let address = format!("10.{}.{}.{}", dice.below(3), dice.below(20), 1 + dice.below(250));
        let path = match dice.below(6) {
            0 => format!("/products/{}", dice.below(900)),
            1 => "/cart".to_string(),
            2 => format!("/static/app.{:x}.js", 0xbeef + dice.below(3)),
            3 => format!("/search?q={}", dice.one(&["lamp", "chair", "table", "desk+lamp"])),
            4 => "/orders".to_string(),
            _ => "/".to_string(),
        };
        let slow = (320..370).contains(&i);
        let status = match dice.below(40) {
            0 => 404,
            1 => 301,
            _ if slow && path == "/orders" => 503,
            _ => 200,
        };
        let method = if path == "/orders" || path == "/cart" { "POST" } else { "GET" };
        let (bytes, agent) = (200 + dice.below(40_000), dice.one(&AGENTS));
        out.push_str(&format!(
            "{address} - - [{when}] \"{method} {path} HTTP/1.1\" {status} {bytes} \"https://shop.example/\" \"{agent}\"\n"
        ));
    }
    out
}
