//! Levels and their order of severity.

/// A severity, the most severe greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// `trace`, also `silly`.
    Trace = 1,
    /// `debug`.
    Debug,
    /// `verbose`.
    Verbose,
    /// `http`.
    Http,
    /// `info`, also `information`, `informational` and syslog's `notice`.
    Info,
    /// `warn`, also `warning`.
    Warn,
    /// `error`, also `err`.
    Error,
    /// `fatal`, also `critical`, `crit`, `panic` and syslog's `alert`, `emerg`, `emergency`.
    Fatal,
}

impl Level {
    /// The level that a word names, its case ignored.
    pub fn parse(word: &str) -> Option<Level> {
        // Longest alias: "informational".
        let mut buffer = [0u8; 13];
        let lower = buffer.get_mut(..word.len())?;
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        Some(match &*lower {
            b"fatal" | b"critical" | b"crit" | b"panic" | b"alert" | b"emerg" | b"emergency" => Level::Fatal,
            b"error" | b"err" => Level::Error,
            b"warn" | b"warning" => Level::Warn,
            b"info" | b"information" | b"informational" | b"notice" => Level::Info,
            b"http" => Level::Http,
            b"verbose" => Level::Verbose,
            b"debug" => Level::Debug,
            b"trace" | b"silly" => Level::Trace,
            _ => return None,
        })
    }

    /// The name that Duramen writes.
    pub fn name(self) -> &'static str {
        match self {
            Level::Fatal => "fatal",
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Http => "http",
            Level::Verbose => "verbose",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }

    /// Syslog's severity (RFC 5424, section 6.2.1) as a level.
    pub fn from_syslog(severity: u8) -> Level {
        match severity {
            0..=2 => Level::Fatal,
            3 => Level::Error,
            4 => Level::Warn,
            5 | 6 => Level::Info,
            _ => Level::Debug,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_aliases() {
        let order = ["trace", "debug", "verbose", "http", "info", "warn", "error", "fatal"];
        for pair in order.windows(2) {
            assert!(Level::parse(pair[0]) < Level::parse(pair[1]));
        }
        for (alias, name) in [("CRITICAL", "fatal"), ("Warning", "warn"), ("silly", "trace")] {
            assert_eq!(Level::parse(alias), Level::parse(name));
        }
        assert_eq!(Level::parse("errors"), None);
        assert_eq!(Level::parse(&"x".repeat(1000)), None);
    }
}
