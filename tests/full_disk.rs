//! A server whose disk fills up or fails: 503 with a reason, no false ack, and on it goes when there is room again.
#![cfg(feature = "server")]

mod support;

use duramen::server::{Config, serve};
use duramen::vfs::sim::{SimOp, SimVfs};
use duramen::{Options, Store};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::http;
use support::json::parse;

/// A server in this process, over a simulated disk; only the derived catalog is on the real one.
fn start(vfs: &SimVfs) -> (String, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_on(Arc::new(vfs.clone()), &folder.path().join("s"), Options::default(), true).unwrap();
    std::fs::create_dir_all(folder.path().join("s")).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let listen = "127.0.0.1:0".parse().unwrap();
        serve(store, listen, Config::default(), |address, _| sender.send(address).unwrap())
    });
    (receiver.recv_timeout(Duration::from_secs(60)).unwrap().to_string(), folder)
}

/// Sends records; how many were acknowledged, or status and code of the error.
fn send(address: &str, from: u64, count: u64) -> Result<u64, (u16, String)> {
    let noise =
        |n: u64| (0..8).map(|i| format!("{:x}", (n + i).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect::<String>();
    let body: String =
        (from..from + count).map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}\n", noise(n * 97))).collect();
    let answer = http::post(address, "/api/v1/ingest", "application/x-ndjson", body.as_bytes()).unwrap();
    let json = parse(&answer.body).unwrap();
    match answer.status {
        200 => Ok(json.get("accepted").and_then(|n| n.as_u64()).unwrap()),
        status => Err((status, json.get("error.code").and_then(|c| c.as_str()).unwrap_or_default().to_string())),
    }
}

fn stored(address: &str) -> u64 {
    let path = format!("/api/v1/query?format=csv&query={}", http::escape("* | stats count() as n, count_uniq(n) as u"));
    let answer = http::get(address, &path).unwrap();
    let numbers: Vec<u64> =
        answer.body.split_whitespace().last().unwrap().split(',').map(|n| n.parse().unwrap()).collect();
    assert_eq!(numbers[0], numbers[1], "each is there once");
    numbers[0]
}

#[test]
fn a_full_disk() {
    let vfs = SimVfs::new();
    let (address, _folder) = start(&vfs);
    let mut acked = send(&address, 0, 100).unwrap();
    vfs.set_space(Some(vfs.used_bytes() + (200 << 10)));
    let mut next = 1_000_000;
    let refused = loop {
        match send(&address, next, 300) {
            Ok(count) => acked += count,
            Err(refused) => break refused,
        }
        next += 300;
        assert!(next < 2_000_000, "the disk does not fill up");
    };
    assert_eq!(refused, (503, "disk_full".into()));
    assert_eq!(stored(&address), acked);
    assert_eq!(send(&address, 5_000_000, 300), Err((503, "disk_full".into())));
    assert_eq!(stored(&address), acked);
    vfs.set_space(None);
    acked += send(&address, 6_000_000, 300).unwrap();
    assert_eq!(stored(&address), acked);
}

#[test]
fn a_disk_that_fails() {
    let vfs = SimVfs::new();
    let (address, _folder) = start(&vfs);
    let mut acked = send(&address, 0, 100).unwrap();
    vfs.fail(SimOp::Create, u64::MAX);
    vfs.fail(SimOp::Sync, 1);
    assert_eq!(send(&address, 1000, 10), Err((503, "read_only".into())));
    assert_eq!(stored(&address), acked);
    vfs.heal();
    let begun = Instant::now();
    acked += loop {
        match send(&address, 2000, 10) {
            Ok(count) => break count,
            Err((status, code)) => assert_eq!((status, code.as_str()), (503, "read_only")),
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not taken up again");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(stored(&address), acked);
}
