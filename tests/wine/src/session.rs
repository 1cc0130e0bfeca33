//! A session with Wine's kernel: a prefix, the Windows program in it, and the driver that is loaded.

use crate::build::build_client;
use crate::log::{Line, Sink};
use crate::prefix::{self, Prefix};
use crate::tools::Wine;
use crate::{Error, Result};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use wine_client::{Op, Request, Response};
use wsk_sys::NTSTATUS;

/// How long a request may take, unless [`Session::set_limit`] says otherwise.
const DEFAULT_LIMIT: Duration = Duration::from_secs(60);
/// The Windows program's name on the prefix's drive.
const CLIENT: &str = "client.exe";

/// What a session needs besides the driver: Wine, found, and the Windows program, built. Preparing may need the network
/// (for the compiler's own dependencies); what follows does not.
#[derive(Debug)]
pub struct Runner {
    wine: Wine,
    program: PathBuf,
}

impl Runner {
    /// Finds Wine and builds the Windows program.
    pub fn prepare() -> Result<Runner> {
        Ok(Runner { wine: Wine::find()?, program: build_client()? })
    }

    /// Makes a prefix and starts the Windows program in it. Each line that the driver or Wine prints goes to `show`.
    pub fn start(self, show: impl FnMut(&Line) + Send + 'static) -> Result<Session> {
        let sink = Sink::new(show)?;
        let prefix = Prefix::create(self.wine, &sink)?;
        copy(&self.program, &prefix.drive_c().join(CLIENT))?;
        let client = Client::start(&prefix, &sink)?;
        Ok(Session { client, limit: DEFAULT_LIMIT, service: None, prefix, sink })
    }
}

/// A running Wine with at most one driver. Dropping it ends everything that runs in it and removes its folder.
#[derive(Debug)]
pub struct Session {
    client: Client,
    limit: Duration,
    service: Option<String>,
    // The order of fields is the order of their end: the prefix ends before the log that its processes write to.
    prefix: Prefix,
    sink: Sink,
}

impl Session {
    /// Sets how long a request may take before Wine counts as lost.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Copies a driver in, makes its service and starts it.
    pub fn load(&mut self, sys: &Path) -> Result<()> {
        self.install(sys)?;
        self.start_driver()
    }

    /// Stops the driver and deletes its service.
    pub fn unload(&mut self) -> Result<()> {
        self.stop_driver()?;
        self.uninstall()
    }

    /// Copies a driver in and makes its service, named like the file, in place of an earlier one.
    pub fn install(&mut self, sys: &Path) -> Result<()> {
        if self.service.is_some() {
            self.uninstall()?;
        }
        let name = sys.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        copy(sys, &self.prefix.drive_c().join(format!("{name}.sys")))?;
        let path = utf16(&format!(r"C:\{name}.sys"));
        self.control("installing", Op::Create, &name, &path)?;
        self.service = Some(name);
        Ok(())
    }

    /// Starts the installed driver.
    pub fn start_driver(&mut self) -> Result<()> {
        let name = self.installed()?;
        self.control("starting", Op::Start, &name, &[])
    }

    /// Stops the installed driver.
    pub fn stop_driver(&mut self) -> Result<()> {
        let name = self.installed()?;
        self.control("stopping", Op::Stop, &name, &[])
    }

    /// Deletes the installed driver's service.
    pub fn uninstall(&mut self) -> Result<()> {
        let name = self.installed()?;
        self.control("deleting", Op::Delete, &name, &[])?;
        self.service = None;
        Ok(())
    }

    /// Opens the device `\\.\<device>`, sends it a control code with buffers and closes it. Gives the request's NTSTATUS,
    /// or that of the opening if that failed, and its output.
    pub fn ioctl(&mut self, device: &str, code: u32, input: &[u8], capacity: usize) -> Result<(NTSTATUS, Vec<u8>)> {
        let (status, output) = self.ask(Op::Ioctl, device, code, input, capacity)?;
        Ok((status as NTSTATUS, output))
    }

    /// Starts the installed driver, uses it and stops it, as often as asked; how long each round took.
    pub fn cycle(
        &mut self,
        rounds: usize,
        mut used: impl FnMut(&mut Session, usize) -> Result<()>,
    ) -> Result<Vec<Duration>> {
        (0..rounds)
            .map(|round| {
                let begin = Instant::now();
                self.start_driver()?;
                used(self, round)?;
                self.stop_driver()?;
                Ok(begin.elapsed())
            })
            .collect()
    }

    /// Reads a file of the prefix's drive C, such as a log of the driver's.
    pub fn read_file(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.prefix.drive_c().join(name);
        fs::read(&path).map_err(Error::io(format!("reading {}", path.display())))
    }

    /// What the driver and Wine have printed up to now, oldest first; the last thousand lines are kept.
    pub fn log(&self) -> Vec<Line> {
        self.sink.lines()
    }

    /// Ends everything that runs in the prefix, waits until it has ended, and removes the prefix.
    pub fn end(self) -> Result<()> {
        let Session { client, prefix, .. } = self;
        let ended = prefix.end();
        client.reap();
        ended
    }

    /// The installed driver's service.
    fn installed(&self) -> Result<String> {
        self.service.clone().ok_or_else(|| Error::Usage("no driver is installed".to_owned()))
    }

    /// One operation on a service.
    fn control(&mut self, action: &'static str, op: Op, name: &str, input: &[u8]) -> Result<()> {
        match self.ask(op, name, 0, input, 0)?.0 {
            0 => Ok(()),
            code => Err(Error::Service { action, code, meaning: windows_error(code), log: self.sink.tail() }),
        }
    }

    /// Sends a request and waits for its response.
    fn ask(&mut self, op: Op, name: &str, code: u32, input: &[u8], capacity: usize) -> Result<(u32, Vec<u8>)> {
        let name = utf16(name);
        let request = Request {
            op: op as u32,
            code,
            name_units: (name.len() / 2) as u32,
            input_bytes: input.len() as u32,
            output_capacity: capacity as u32,
        };
        let message = [&request.encode(), name.as_slice(), input].concat();
        self.client.ask(&message, self.limit).map_err(|cause| Error::Lost { cause, log: self.sink.tail() })
    }
}

/// The Windows program and the thread that reads its responses.
#[derive(Debug)]
struct Client {
    process: Child,
    input: ChildStdin,
    responses: Receiver<(u32, Vec<u8>)>,
}

impl Client {
    /// Starts the program in a prefix.
    fn start(prefix: &Prefix, sink: &Sink) -> Result<Client> {
        let mut command = prefix.command(&format!(r"C:\{CLIENT}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(sink.stdio()?);
        let mut process = prefix::start(&mut command).map_err(Error::io("starting Wine"))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            unreachable!("both are piped");
        };
        let (response, responses) = channel();
        std::thread::spawn(move || read_responses(output, &response));
        Ok(Client { process, input, responses })
    }

    /// Sends a request and waits for its response; an error is the cause of the loss.
    fn ask(&mut self, message: &[u8], limit: Duration) -> std::result::Result<(u32, Vec<u8>), String> {
        self.input.write_all(message).map_err(|error| format!("the request could not be sent ({error})"))?;
        self.responses.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("no answer within {} s", limit.as_secs()),
            RecvTimeoutError::Disconnected => match self.process.wait() {
                Ok(status) => format!("the Windows program ended ({status})"),
                Err(error) => format!("the Windows program is gone ({error})"),
            },
        })
    }

    /// Waits for the end of the program, whose prefix has ended.
    fn reap(mut self) {
        drop(self.input);
        let _ = self.process.wait();
    }
}

/// Reads responses until the program ends or nobody wants them any more.
fn read_responses(mut output: ChildStdout, responses: &Sender<(u32, Vec<u8>)>) {
    let mut next = || -> io::Result<(u32, Vec<u8>)> {
        let mut header = [0; Response::BYTES];
        output.read_exact(&mut header)?;
        let header = Response::decode(&header);
        let mut bytes = vec![0; header.output_bytes as usize];
        output.read_exact(&mut bytes)?;
        Ok((header.status, bytes))
    };
    while let Ok(response) = next() {
        if responses.send(response).is_err() {
            return;
        }
    }
}

/// Copies a file.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).map_err(Error::io(format!("copying {}", from.display())))
}

/// UTF-16 as bytes.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// What the error codes mean that the service control manager gives for drivers.
fn windows_error(code: u32) -> String {
    let meaning = match code {
        2 | 3 => "the driver's file was not found",
        5 => "access was denied",
        31 => "the driver's entry failed",
        126 | 127 => "a function or file that the driver imports was not found",
        193 | 216 => "the file is no driver for this system",
        1052 => "the driver cannot be stopped",
        1053 => "the driver crashed or did not answer in time",
        1056 => "it is running already",
        1060 => "there is no such service",
        1062 => "it is not running",
        1072 => "the service is marked for deletion",
        1073 => "the service exists already",
        _ => return format!("Windows error {code}"),
    };
    format!("{meaning} (Windows error {code})")
}
