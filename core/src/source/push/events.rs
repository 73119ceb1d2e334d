//! Event streams (WHATWG HTML, section 9.2.6), read as they come: chunks may be cut anywhere.
//!
//! What an event says is for a fetch to find out, so this never prints any of it.

use std::time::Duration;

/// The largest event, and the longest line, in bytes. A hint is some fifty.
const MAX_EVENT: usize = 16 * 1024;

/// Reads a stream.
#[derive(Default)]
pub struct Events {
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    /// The first line has been read, so a byte order mark is one no more.
    begun: bool,
}

/// What a stream said. Not `Debug`: it is not this crate's own text.
pub enum Heard {
    /// An event.
    Event {
        /// What kind of event it is.
        name: Vec<u8>,
        /// What it says.
        data: Vec<u8>,
    },
    /// The `retry` field: how long to wait, at least, before a new connection.
    Retry(Duration),
}

#[cfg(feature = "fuzzing")]
impl Heard {
    /// Whether it would make a fetch come sooner.
    pub(in crate::source) fn is_hint(&self) -> bool {
        matches!(self, Self::Event { name, data } if super::plan::hint(name, data).is_some())
    }
}

/// An event without a reasonable end.
pub struct TooLarge;

impl Events {
    /// Reads on. An event that is not complete when the stream ends is none.
    ///
    /// # Errors
    /// What is not read to its end: the stream is to be closed.
    pub fn read(&mut self, chunk: &[u8]) -> Result<Vec<Heard>, TooLarge> {
        let mut heard = Vec::new();
        for &byte in chunk {
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\r' | b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    heard.extend(self.end_line(&line));
                }
                _ => self.line.push(byte),
            }
            if self.line.len() + self.name.len() + self.data.len() > MAX_EVENT {
                return Err(TooLarge);
            }
        }
        Ok(heard)
    }

    fn end_line(&mut self, line: &[u8]) -> Option<Heard> {
        let begun = std::mem::replace(&mut self.begun, true);
        let line = match line.strip_prefix(b"\xEF\xBB\xBF") {
            Some(rest) if !begun => rest,
            _ => line,
        };
        if line.is_empty() {
            return self.end_event();
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.name = value.to_vec(),
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                let millis = std::str::from_utf8(value).ok()?.parse().ok()?;
                return Some(Heard::Retry(Duration::from_millis(millis)));
            }
            // A comment has no field name. `id` is for servers that keep what was missed: here a fetch
            // brings the full state.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Heard> {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        // The last line feed goes; an event without data is none.
        data.pop()?;
        Some(Heard::Event { name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&[u8]]) -> Option<Vec<String>> {
        let mut events = Events::default();
        let mut all = Vec::new();
        for chunk in chunks {
            for heard in events.read(chunk).ok()? {
                all.push(match heard {
                    Heard::Event { name, data } => {
                        let text = |bytes| String::from_utf8(bytes).expect("text");
                        format!("{}={}", text(name), text(data))
                    }
                    Heard::Retry(wait) => format!("retry {}", wait.as_millis()),
                });
            }
        }
        Some(all)
    }

    #[test]
    fn a_stream_is_read_by_the_standards_rules() {
        let cases: [(&str, &[&str]); 14] = [
            ("event: changed\ndata: {}\n\n", &["changed={}"]),
            ("event:changed\rdata:{}\r\r", &["changed={}"]),
            ("event: changed\r\ndata: {}\r\n\r\n", &["changed={}"]),
            ("data: a\ndata:  b\ndata\n\n", &["=a\n b\n"]),
            (": a comment\n\n:\n", &[]),
            ("event: ping\n\ndata: x\n\n", &["=x"]),
            ("event: a\nevent: b\ndata: x\n\n", &["b=x"]),
            ("id: g4\nother: 1\nno colon\ndata: x\n\n", &["=x"]),
            ("\u{feff}data: x\n\n\u{feff}data: y\n\n", &["=x"]),
            ("retry: 250\nretry: soon\nretry: -1\n", &["retry 250"]),
            ("retry: 99999999999999999999999\n", &[]),
            ("data: x\n", &[]),
            ("data: x\n\ndata: y", &["=x"]),
            ("\n\n\n", &[]),
        ];
        for (stream, expected) in cases {
            let stream = stream.as_bytes();
            assert_eq!(read(&[stream]).expect("small"), expected, "{stream:?}");
            // However it is cut.
            for at in 0..=stream.len() {
                let (head, tail) = stream.split_at(at);
                assert_eq!(read(&[head, tail]).expect("small"), expected, "{stream:?} at {at}");
            }
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            assert_eq!(read(&bytes).expect("small"), expected, "{stream:?}");
        }
    }

    #[test]
    fn an_event_without_end_is_not_kept() {
        let line = [b'x'; 1024];
        let lines = |count| vec![&line[..]; count];
        assert!(read(&lines(16)).is_some(), "16 KiB");
        assert!(read(&lines(17)).is_none(), "one long line");
        let data = [b"data: ", &line[..], b"\n"].concat();
        assert!(read(&vec![&data[..]; 15]).is_some());
        assert!(read(&vec![&data[..]; 17]).is_none(), "many short lines");
        let event = [&data[..], b"\n"].concat();
        assert_eq!(read(&vec![&event[..]; 99]).map(|heard| heard.len()), Some(99));
    }
}
