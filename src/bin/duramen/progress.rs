//! How far a command is, on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// A bar over bytes of known length, a spinner over others; nothing where stderr is no terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// Begins, with the number of bytes to come where that is known.
    pub fn bytes(total: Option<u64>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Progress(ProgressBar::hidden());
        }
        let template = match total {
            Some(_) => "{wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg}",
            None => "{spinner} {bytes} {binary_bytes_per_sec} {msg}",
        };
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress(bar)
    }

    /// So many bytes more.
    pub fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// What is under way.
    pub fn say(&self, text: &str) {
        self.0.set_message(text.to_string());
    }

    /// Prints a line on stderr, above the bar.
    pub fn line(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
