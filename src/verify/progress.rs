//! How far a comparison has come, and the line that says so.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::namespace::Namespace;

/// How far a comparison has come. Written by its tasks, read by whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// About how many documents there are.
    pub(super) total: AtomicU64,
    /// Documents that were read, of both sides' the larger number.
    done: AtomicU64,
    /// Documents that differed and are looked at again.
    pub(super) open: AtomicU64,
    /// The collection that was begun last.
    current: Mutex<String>,
}

impl Progress {
    pub(super) fn add(&self, documents: u64) {
        self.done.fetch_add(documents, Relaxed);
    }

    pub(super) fn now(&self, namespace: &Namespace) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = namespace.to_string();
    }

    /// One line of at most `width` characters for a comparison that has run for so long.
    pub fn line(&self, elapsed: Duration, width: usize) -> String {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (done, total, open) =
            (self.done.load(Relaxed), self.total.load(Relaxed), self.open.load(Relaxed));
        line(&current, done, total, open, elapsed).chars().take(width).collect()
    }
}

fn line(current: &str, done: u64, total: u64, open: u64, elapsed: Duration) -> String {
    const CELLS: u64 = 20;
    // The total is an estimate, and documents come and go.
    let done_of_total = |scale: u64| done.saturating_mul(scale).checked_div(total).unwrap_or(0).min(scale);
    let full = usize::try_from(done_of_total(CELLS)).unwrap_or_default();
    let bar = "#".repeat(full) + &"-".repeat(CELLS as usize - full);
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let mut line = format!(
        "[{bar}] {:>3} %  {} of about {} documents, {}/s",
        done_of_total(100),
        grouped(done),
        grouped(total),
        grouped(rate as u64)
    );
    if open > 0 {
        line += &format!(", {} looked at again", grouped(open));
    }
    if !current.is_empty() {
        line += &format!("  {current}");
    }
    line
}

/// A number with commas between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is_and_is_never_over_the_end() {
        let second = Duration::from_secs(1);
        assert_eq!(
            line("shop.orders", 1_500, 3_000, 0, second),
            "[##########----------]  50 %  1,500 of about 3,000 documents, 1,500/s  shop.orders"
        );
        assert_eq!(
            line("", 10, 5, 1_234, second),
            "[####################] 100 %  10 of about 5 documents, 10/s, 1,234 looked at again"
        );
        assert!(line("", 0, 0, 0, Duration::ZERO).contains("  0 %"));
        assert_eq!(Progress::default().line(second, 5).chars().count(), 5);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
