//! What the processes of a Wine prefix write to standard error: the driver's own debug output, and Wine's complaints.

use crate::{Error, Result};
use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader, PipeWriter, Write};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The driver's own debug output (DbgPrint).
    Driver(String),
    /// What Wine has to say.
    Wine(String),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Driver(text) => write!(f, "driver: {text}"),
            Line::Wine(text) => write!(f, "wine: {text}"),
        }
    }
}

/// Setting of Wine's debug channels: DbgPrint and errors, without what is known and harmless.
pub(crate) const CHANNELS: &str = "fixme-all,err-win,err-winediag,err-wineboot,err-systray,warn+debugstr";
/// Lines that are kept.
const KEPT: usize = 1000;
/// Lines that an error shows.
const SHOWN: usize = 12;
/// The host's own line, written to find out whether everything before it has been read.
const MARK: &str = "wine-log-mark";

/// A pipe that processes write to, and the thread that reads it.
#[derive(Debug)]
pub(crate) struct Sink {
    writer: PipeWriter,
    lines: Arc<Mutex<VecDeque<Line>>>,
    marks: Receiver<()>,
}

impl Sink {
    /// Makes the pipe and starts the thread, which hands each line to `show` and ends with the last writer.
    pub(crate) fn new(show: impl FnMut(&Line) + Send + 'static) -> Result<Sink> {
        let (reader, writer) = std::io::pipe().map_err(Error::io("making a pipe"))?;
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let (mark, marks) = channel();
        let kept = lines.clone();
        std::thread::spawn(move || collect(BufReader::new(reader), &kept, &mark, show));
        Ok(Sink { writer, lines, marks })
    }

    /// The writing end, for a process.
    pub(crate) fn stdio(&self) -> Result<Stdio> {
        self.writer.try_clone().map(Stdio::from).map_err(Error::io("duplicating a pipe"))
    }

    /// Everything kept that was written before this call.
    pub(crate) fn lines(&self) -> Vec<Line> {
        // The pipe keeps the order: when the mark has come through, all that was written before it has, too.
        if writeln!(&self.writer, "{MARK}").is_ok() {
            let _ = self.marks.recv();
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The last lines as the tail of an error message; empty if there are none.
    pub(crate) fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(SHOWN)..].iter().map(|line| format!("\n    {line}")).collect()
    }
}

/// Reads lines until the last writer is gone.
fn collect(reader: impl BufRead, kept: &Mutex<VecDeque<Line>>, mark: &Sender<()>, mut show: impl FnMut(&Line)) {
    for line in reader.split(b'\n').map_while(std::io::Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if line == MARK {
            // Nobody may be there to receive it any more.
            let _ = mark.send(());
            continue;
        }
        let Some(line) = readable(line.trim_end()) else { continue };
        show(&line);
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

/// Tells the debug output from complaints; none for what says nothing.
fn readable(line: &str) -> Option<Line> {
    // 0128:warn:debugstr:vDbgPrintExWithPrefix 0000004d:00000000: text
    if let Some((_, output)) = line.split_once(":debugstr:") {
        let text = output.splitn(3, ':').nth(2)?.trim_end();
        // What the driver has put in front of its text is its own.
        let text = text.strip_prefix(' ').unwrap_or(text);
        return (!text.is_empty()).then(|| Line::Driver(text.to_owned()));
    }
    // The 32-bit part, which is not needed, is looked for whenever a prefix is made.
    let noise = line.is_empty() || line.contains("syswow64") || line.starts_with("wine: c");
    (!noise).then(|| Line::Wine(line.strip_prefix("wine: ").unwrap_or(line).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_is_told_from_complaints() {
        let debug = "0128:warn:debugstr:vDbgPrintExWithPrefix 0000004d:00000000: fixture: loaded: twice";
        assert_eq!(readable(debug), Some(Line::Driver("fixture: loaded: twice".to_owned())));
        let indented = "0128:warn:debugstr:vDbgPrintExWithPrefix 0000004d:00000000:     ok 1 case";
        assert_eq!(readable(indented), Some(Line::Driver("    ok 1 case".to_owned())));
        let complaint = "Call from 0 to unimplemented function ntoskrnl.exe.KeRemoveQueueDpc, aborting";
        assert_eq!(readable(&format!("wine: {complaint}")), Some(Line::Wine(complaint.to_owned())));
        assert_eq!(readable("0044:err:seh:x y"), Some(Line::Wine("0044:err:seh:x y".to_owned())));
        assert_eq!(readable(r#"wine: failed to open L"C:\\windows\\syswow64\\rundll32.exe": c0000135"#), None);
        assert_eq!(readable(""), None);
    }

    #[test]
    fn lines_has_what_was_written_before_it() {
        let sink = Sink::new(|_| ()).expect("a pipe");
        for number in 0..KEPT + 5 {
            writeln!(&sink.writer, "line {number}").expect("the pipe takes it");
        }
        let lines = sink.lines();
        assert_eq!(lines.len(), KEPT);
        assert_eq!(lines.last(), Some(&Line::Wine(format!("line {}", KEPT + 4))));
        assert_eq!(sink.tail().lines().count(), 1 + SHOWN);
    }
}
