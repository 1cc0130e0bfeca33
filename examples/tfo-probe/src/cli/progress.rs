//! The progress line: what the driver said last and for how long it has been at work. For people at a terminal; nobody
//! else sees it.

use std::{
    boxed::Box,
    format,
    io::{self, IsTerminal, Write},
    string::String,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How the driver's lines for the user begin among the kernel's debug output.
const PREFIX: &str = "tfo-probe: ";
/// How often the elapsed time is drawn anew.
const INTERVAL: Duration = Duration::from_millis(100);
/// Longest line drawn: it must not wrap, or it could not be wiped.
const WIDTH: usize = 78;

/// Takes the kernel's debug output, line by line.
pub type DebugSink = Arc<dyn Fn(&str) + Send + Sync>;

/// A progress line on display. Dropping it wipes the line.
pub struct Progress {
    shared: Arc<Shared>,
    drawing: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    line: String,
    ended: bool,
}

impl Progress {
    /// Shows progress on the standard error output if that is a terminal.
    pub fn start() -> Self {
        let terminal = io::stderr().is_terminal();
        Self::start_on(terminal.then(|| Box::new(io::stderr()) as Box<dyn Write + Send>))
    }

    fn start_on(terminal: Option<Box<dyn Write + Send>>) -> Self {
        let shared = Arc::new(Shared::default());
        let drawing = terminal.and_then(|terminal| {
            let shared = Arc::clone(&shared);
            // Without a thread there is no line, and no harm.
            thread::Builder::new().name("progress".into()).spawn(move || shared.draw_until_ended(terminal)).ok()
        });
        Self { shared, drawing }
    }

    /// Where the driver's debug output goes.
    pub fn debug_sink(&self) -> DebugSink {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |output: &str| {
            for line in output.lines().filter_map(|line| line.strip_prefix(PREFIX)) {
                shared.state().line = line.into();
                shared.changed.notify_one();
            }
        })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_one();
        if let Some(drawing) = self.drawing.take() {
            let _ = drawing.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A line of text and a flag are whole whatever a thread that held the lock did.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A terminal that cannot be written to is no reason to stop a probe, so failures to write pass.
    fn draw_until_ended(&self, mut terminal: Box<dyn Write + Send>) {
        let start = Instant::now();
        let mut state = self.state();
        while !state.ended {
            let line = format!("{:.1} s  {}", start.elapsed().as_secs_f64(), state.line);
            let line: String = line.chars().filter(|c| !c.is_control()).take(WIDTH).collect();
            let _ = write!(terminal, "\r\x1b[2K{line}");
            let _ = terminal.flush();
            state = match self.changed.wait_timeout(state, INTERVAL) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let _ = write!(terminal, "\r\x1b[2K");
        let _ = terminal.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A terminal that hands on what is written to it.
    struct Screen(mpsc::Sender<String>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn it_shows_the_drivers_lines_and_wipes_them_at_the_end() {
        let (sender, written) = mpsc::channel();
        let progress = Progress::start_on(Some(Box::new(Screen(sender))));
        let sink = progress.debug_sink();
        sink("another driver: hello\n");
        sink("tfo-probe: \x1b[31m1 of 3 targets done\r\n");
        let mut text = String::new();
        while !text.contains("1 of 3 targets done") {
            text += &written.recv().unwrap();
        }
        drop(progress);
        text.extend(written.iter());
        assert!(!text.contains("another driver"), "{text:?}");
        assert!(!text.contains("\x1b[31m"), "a driver's output cannot steer the terminal");
        assert!(text.ends_with("\r\x1b[2K"), "{text:?}");
    }

    #[test]
    fn without_a_terminal_nothing_is_drawn() {
        let progress = Progress::start_on(None);
        progress.debug_sink()("tfo-probe: unseen");
        assert!(progress.drawing.is_none());
    }
}
