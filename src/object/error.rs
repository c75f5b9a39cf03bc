//! What goes wrong with objects.

use object_store::Error;

/// Longest answer of a service that an error shows, in characters.
const REASON_CHARS_MAX: usize = 1000;

/// Why an object was not read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// The address can't be one. It is not shown: somebody may have put a secret into it.
    #[error("no address of objects: {0}")]
    Address(String),
    /// There is no object of this name.
    #[error("{place}: there is no such object")]
    Missing {
        /// Bucket and key, as an address.
        place: String,
    },
    /// What was to be stored is longer or shorter than it was said to be. Nothing was stored.
    #[error("{place}: {found} bytes came, and {expected} were to be stored")]
    Length {
        /// Bucket and key, as an address.
        place: String,
        /// How many bytes were announced.
        expected: u64,
        /// How many there were.
        found: u64,
    },
    /// The service refused, or could not be reached.
    #[error("{place}: {op}: {reason}")]
    Refused {
        /// Bucket and key, as an address.
        place: String,
        /// What was tried.
        op: &'static str,
        /// What it said, with the status.
        reason: String,
    },
}

impl ObjectError {
    /// From what the crate says. A bucket that is missing is not an object that is.
    pub(super) fn of(op: &'static str, place: String, error: &Error) -> Self {
        let reason = told(error);
        match error {
            Error::NotFound { .. } if !reason.contains("NoSuchBucket") => ObjectError::Missing { place },
            _ => ObjectError::Refused { place, op, reason },
        }
    }

    /// Is there no such object?
    pub fn is_missing(&self) -> bool {
        matches!(self, ObjectError::Missing { .. })
    }
}

/// What the crate says, with the causes below it: its own words alone are often a URL and a number of retries.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        below = cause.source();
    }
    cut(&text)
}

/// Of an answer in XML its code and message alone: others of its members repeat what was sent, the key's name included.
fn cut(text: &str) -> String {
    let xml = text.find("<?xml").into_iter().chain(text.find("<Error")).min();
    let plain = &text[..xml.unwrap_or(text.len())];
    let member = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(value, _)| value)
    };
    let mut out = plain.trim_end_matches([' ', ':']).to_string();
    for value in ["Code", "Message"].into_iter().filter_map(member) {
        out = format!("{out}: {value}");
    }
    out.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn of_an_answer_code_and_message() {
        let check = |text: &str, expect: &str| assert_eq!(super::cut(text), expect, "{text}");
        check("PUT http://h/b/k: 403 Forbidden", "PUT http://h/b/k: 403 Forbidden");
        check(
            "status code: 403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>No.</Message>\
             <AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>",
            "status code: 403 Forbidden: AccessDenied: No.",
        );
        check("503: <Error><Code>SlowDown</Code></Error>", "503: SlowDown");
        check("503: <Error><Code>half", "503");
        assert_eq!(super::cut(&"a\u{7}".repeat(5000)).len(), 1000);
    }
}
