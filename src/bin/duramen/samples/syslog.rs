//! A host's syslog, as RFC 5424 has it.

use super::{Dice, times};
use duramen::record::Timestamp;

/// Facility `daemon`.
const FACILITY: u64 = 3;

pub(super) fn log(end: Timestamp) -> String {
    let mut dice = Dice(33);
    let mut out = String::new();
    for time in times(end, 300, 12_000) {
        let host = dice.one(&["web-1", "web-2", "db-1"]);
        let (severity, program, message) = match dice.below(8) {
            0 => (
                4,
                "sshd",
                format!("Failed password for root from 203.0.113.{} port 4{:04}", dice.below(255), dice.below(9999)),
            ),
            1 => (6, "sshd", "Accepted publickey for deploy from 10.0.0.5 port 51514".to_string()),
            2 => (6, "systemd", format!("Started session-{}.scope", dice.below(500))),
            3 => (6, "cron", "(root) CMD (/usr/bin/backup --incremental)".to_string()),
            4 => (5, "kernel", format!("eth0: link up, {} Mbps, full duplex", dice.one(&["1000", "10000"]))),
            5 if dice.rarely(6) => {
                (3, "kernel", format!("Out of memory: Killed process {} (java)", 2000 + dice.below(9000)))
            }
            5 => (6, "chronyd", format!("System clock wrong by 0.{:06} seconds", dice.below(9000))),
            _ => (6, "nginx", format!("worker process {} exited with code 0", 300 + dice.below(50))),
        };
        let (priority, pid) = (FACILITY * 8 + severity, 100 + dice.below(30_000));
        out.push_str(&format!("<{priority}>1 {time} {host} {program} {pid} - - {message}\n"));
    }
    out
}
