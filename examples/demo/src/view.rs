//! What is shown while it runs: a few lines that are drawn again, or a line an event where standard
//! error is not a terminal.

use std::{
    collections::VecDeque,
    io::{IsTerminal, Write},
};

const LINES: usize = 6;
const BAR: usize = 40;

pub(crate) struct View {
    live: bool,
    colour: bool,
    drawn: usize,
    events: VecDeque<String>,
}

/// What a drawing shows.
pub(crate) struct Now<'a> {
    pub(crate) seconds: f64,
    pub(crate) total: f64,
    pub(crate) in_use: &'a str,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// Requests a second by key, of the keys that were used just now.
    pub(crate) rates: Vec<(String, u32)>,
}

impl View {
    pub(crate) fn new(quiet: bool) -> Self {
        let live = !quiet && std::io::stderr().is_terminal();
        let colour = live && std::env::var_os("NO_COLOR").is_none();
        Self { live, colour, drawn: 0, events: VecDeque::new() }
    }

    /// Something happened.
    pub(crate) fn event(&mut self, seconds: f64, what: &str) {
        let line = format!("{seconds:6.2} s  {what}");
        if self.live {
            self.events.push_back(line);
            while self.events.len() > LINES {
                self.events.pop_front();
            }
        } else {
            say(&format!("{line}\n"));
        }
    }

    /// Draws what is to be seen now, over what was drawn before.
    pub(crate) fn draw(&mut self, now: &Now<'_>) {
        if !self.live {
            return;
        }
        let share = (now.seconds / now.total).clamp(0.0, 1.0);
        let done = (share * BAR as f64) as usize;
        let mut lines = vec![
            format!(
                "[{}{}] {:.0} of {:.0} s",
                "#".repeat(done),
                ".".repeat(BAR - done),
                now.seconds,
                now.total
            ),
            format!(
                "in use {}   requests {}   failed {}",
                self.strong(now.in_use),
                now.requests,
                now.failed
            ),
        ];
        let most = now.rates.iter().map(|(_, rate)| *rate).max().unwrap_or(1).max(1);
        for (key, rate) in now.rates.iter().rev().take(3) {
            let length = (*rate as usize * BAR).div_ceil(most as usize);
            lines.push(format!("{key:>6} {} {rate}/s", "=".repeat(length)));
        }
        lines.extend(self.events.iter().cloned());
        // A line that is too long is cut and not wrapped, or the next drawing would begin too low.
        let mut text = "\x1b[?7l".to_owned();
        if self.drawn > 0 {
            text += &format!("\x1b[{}A", self.drawn);
        }
        for line in &lines {
            text += &format!("\x1b[2K{line}\n");
        }
        // What was drawn below last time and is not needed now.
        text += "\x1b[0J\x1b[?7h";
        self.drawn = lines.len();
        say(&text);
    }

    fn strong(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1;32m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn say(text: &str) {
    // A terminal that went away is no reason to stop.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
