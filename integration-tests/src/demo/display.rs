//! Shows the numbers: on a terminal as a block that is drawn over itself, else as one plain line each time.

use std::io::{self, IsTerminal, Write};

use super::counts::Look;

/// The block's height.
const LINE_COUNT: usize = 4;

pub(super) struct Display {
    is_terminal: bool,
    /// Whether the block stands right above the cursor.
    is_drawn: bool,
}

impl Display {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stdout().is_terminal(), is_drawn: false }
    }

    /// Shows `look` in place of the one before.
    pub(super) fn show(&mut self, look: &Look) {
        let lag = look.lag_seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.0} s"));
        let waiting = look.in_topics.saturating_sub(look.copied);
        if !self.is_terminal {
            println!(
                "{:>3} s  written {} ({}/s)  in topics {} ({}/s)  copied {} ({}/s)  lag {lag}, {waiting} records",
                look.seconds,
                look.written,
                look.written_rate,
                look.in_topics,
                look.in_topics_rate,
                look.copied,
                look.copied_rate,
            );
            return;
        }
        let lines = [
            row("written", look.written, look.written_rate, &format!("{} transactions", look.transactions)),
            row("in topics", look.in_topics, look.in_topics_rate, &format!("position is {lag} old")),
            row("copied", look.copied, look.copied_rate, &format!("{waiting} records behind")),
            format!("  {} s", look.seconds),
        ];
        self.erase();
        self.print(&(lines.join("\n") + "\n"));
        self.is_drawn = true;
    }

    /// A line that stays, above the numbers.
    pub(super) fn say(&mut self, line: &str) {
        self.erase();
        self.print(&format!("{line}\n"));
        self.is_drawn = false;
    }

    /// The numbers stay as they are.
    pub(super) fn done(&mut self) {
        self.is_drawn = false;
    }

    fn erase(&self) {
        if self.is_terminal && self.is_drawn {
            self.print(&format!("\x1b[{LINE_COUNT}A\x1b[J"));
        }
    }

    fn print(&self, text: &str) {
        print!("{text}");
        if let Err(error) = io::stdout().flush() {
            eprintln!("demo: the terminal is gone: {error}");
        }
    }
}

fn row(name: &str, count: u64, rate: u64, note: &str) -> String {
    format!("  {name:<10} {count:>10} {rate:>8}/s   {note}")
}
