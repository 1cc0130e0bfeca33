//! What the processes of a Wine prefix write to standard error: the driver's own debug output, and Wine's complaints.

use crate::{Error, Result};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, PipeWriter, Write};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// What becomes of the driver's debug output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// It is kept; errors show its end.
    OnFailure,
    /// It is printed to standard error as it comes, and kept as well.
    Print,
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
    lines: Arc<Mutex<VecDeque<String>>>,
    marks: Receiver<()>,
}

impl Sink {
    /// Makes the pipe and starts the thread, which ends with the last writer.
    pub(crate) fn new(log: Log) -> Result<Sink> {
        let (reader, writer) = std::io::pipe().map_err(Error::io("making a pipe"))?;
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let (mark, marks) = channel();
        let kept = lines.clone();
        std::thread::spawn(move || collect(BufReader::new(reader), &kept, &mark, log));
        Ok(Sink { writer, lines, marks })
    }

    /// The writing end, for a process.
    pub(crate) fn stdio(&self) -> Result<Stdio> {
        self.writer.try_clone().map(Stdio::from).map_err(Error::io("duplicating a pipe"))
    }

    /// Everything kept that was written before this call.
    pub(crate) fn lines(&self) -> Vec<String> {
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
fn collect(reader: impl BufRead, kept: &Mutex<VecDeque<String>>, mark: &Sender<()>, log: Log) {
    for line in reader.split(b'\n').map_while(std::io::Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if line == MARK {
            // Nobody may be there to receive it any more.
            let _ = mark.send(());
            continue;
        }
        let Some(line) = readable(line.trim_end()) else { continue };
        if log == Log::Print {
            eprintln!("{line}");
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

/// A line for people: `driver: text` for the debug output, `wine: text` for anything else; none for what says nothing.
fn readable(line: &str) -> Option<String> {
    // 0128:warn:debugstr:vDbgPrintExWithPrefix 0000004d:00000000: text
    if let Some((_, output)) = line.split_once(":debugstr:") {
        let text = output.splitn(3, ':').nth(2)?.trim();
        return (!text.is_empty()).then(|| format!("driver: {text}"));
    }
    // The 32-bit part, which is not needed, is looked for whenever a prefix is made.
    let noise = line.is_empty() || line.contains("syswow64") || line.starts_with("wine: c");
    (!noise).then(|| format!("wine: {}", line.strip_prefix("wine: ").unwrap_or(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_is_told_from_complaints() {
        let debug = "0128:warn:debugstr:vDbgPrintExWithPrefix 0000004d:00000000: fixture: loaded: twice";
        assert_eq!(readable(debug).as_deref(), Some("driver: fixture: loaded: twice"));
        let complaint = "wine: Call from 0 to unimplemented function ntoskrnl.exe.KeRemoveQueueDpc, aborting";
        assert_eq!(readable(complaint).as_deref(), Some(complaint));
        assert_eq!(readable("0044:err:seh:x y").as_deref(), Some("wine: 0044:err:seh:x y"));
        assert_eq!(readable(r#"wine: failed to open L"C:\\windows\\syswow64\\rundll32.exe": c0000135"#), None);
        assert_eq!(readable(""), None);
    }

    #[test]
    fn lines_has_what_was_written_before_it() {
        let sink = Sink::new(Log::OnFailure).expect("a pipe");
        for number in 0..KEPT + 5 {
            writeln!(&sink.writer, "line {number}").expect("the pipe takes it");
        }
        let lines = sink.lines();
        assert_eq!(lines.len(), KEPT);
        assert_eq!(lines.last(), Some(&format!("wine: line {}", KEPT + 4)));
        assert_eq!(sink.tail().lines().count(), 1 + SHOWN);
    }
}
