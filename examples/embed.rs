//! A program that keeps its own logs searchable: `cargo run --example embed`.

use duramen::{Store, record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("duramen-embed-{}", std::process::id()));
    let store = Store::open(&dir)?;
    let tenant = store.tenant("acme")?;

    // When append returns, the records survive a loss of power, and queries see them.
    tenant.append(&[
        record! { level: "info", message: "listening on 0.0.0.0:8080", pid: 4711 },
        record! { level: "error", message: "connection reset by peer", duration: 1500, "http.status": 502 },
        record! { level: "warn", message: "slow query", duration: 2300.5, tables: vec!["users", "sessions"] },
    ])?;

    for row in tenant.query("level:>=warn AND duration:>1s")? {
        println!("{}", row?);
    }
    for row in tenant.query("* | stats by (level) count() as records | sort by (records desc, level)")? {
        println!("{}", row?);
    }

    store.close()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
