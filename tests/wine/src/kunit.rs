//! Runs a test driver of `kunit` in Wine: its suites as a .sys, with the report that it prints; also beside the same suites in
//! the simulated kernel.

use crate::{Image, Line, Runner, Session};
use kunit::host::compare::{Ran, SideBySide};
use kunit::host::{Listed, Ntsim, Request, Runner as KunitRunner};
use kunit::{CAPACITY, DEVICE, Environment, IOCTL_LIST, IOCTL_RUN};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wsk_async::status::NtStatus;

/// Longest run of all cases, after which Wine counts as lost.
const LIMIT: Duration = Duration::from_secs(600);

/// A test driver in a Wine of its own, which is started when it is needed first.
pub struct TestDriver {
    image: Image,
    runner: Option<Runner>,
    session: Option<Session>,
    /// What the driver has printed in the current run.
    lines: Arc<Mutex<Vec<String>>>,
}

impl TestDriver {
    /// For a built image.
    pub fn new(runner: Runner, image: Image) -> TestDriver {
        TestDriver { image, runner: Some(runner), session: None, lines: Arc::default() }
    }

    /// The session with the driver loaded.
    fn session(&mut self) -> crate::Result<&mut Session> {
        if self.session.is_none() {
            let lost = || crate::Error::Usage("Wine has ended with an earlier run".to_owned());
            let runner = self.runner.take().ok_or_else(lost)?;
            let lines = self.lines.clone();
            let mut session = runner.start(move |line| {
                if let Line::Driver(text) = line {
                    lines.lock().unwrap_or_else(PoisonError::into_inner).push(text.clone());
                }
            })?;
            session.set_limit(LIMIT);
            session.load(&self.image.sys)?;
            self.session = Some(session);
        }
        self.session.as_mut().ok_or_else(|| unreachable!("it was just made"))
    }

    /// Sends a control code to the driver; the output is text.
    fn ask(&mut self, code: u32, request: &Request) -> Result<String, String> {
        let request = request.text(Environment::Wine);
        let session = self.session().map_err(|error| error.to_string())?;
        match session.ioctl(DEVICE, code, request.as_bytes(), CAPACITY) {
            Ok((0, output)) => Ok(String::from_utf8_lossy(&output).into_owned()),
            Ok((status, _)) => Err(format!("the request: {}", NtStatus(status))),
            Err(error) => {
                // Waits until all that was printed has been read. Whatever there is of Wine, it is of no use any more.
                session.log();
                self.session = None;
                Err(error.to_string())
            }
        }
    }

    /// What the driver has printed since the last call.
    fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads a file of Wine's drive C, such as the report that a request has the driver write.
    pub fn read_file(&mut self, name: &str) -> crate::Result<Vec<u8>> {
        self.session()?.read_file(name)
    }

    /// Unloads the driver and ends Wine.
    pub fn end(mut self) -> crate::Result<()> {
        match self.session.take() {
            Some(mut session) => {
                session.unload()?;
                session.end()
            }
            None => Ok(()),
        }
    }
}

/// Runs a package's suites in a Wine of their own. Starting Wine's services and stopping a driver fails now and then on a
/// machine that is very busy, for reasons of Wine's own, so either may fail once.
pub fn run(package: &str, request: &Request) -> crate::Result<Ran> {
    let image = crate::build(package, &[])?;
    let attempt = || -> crate::Result<Result<Ran, String>> {
        let mut driver = TestDriver::new(Runner::prepare()?, image.clone());
        Ok(Ran::new(&mut driver, request).and_then(|ran| {
            // After a crash there is nothing to end.
            let ended = if ran.report.errors.is_empty() { driver.end() } else { Ok(()) };
            ended.map(|()| ran).map_err(|error| error.to_string())
        }))
    };
    match attempt()? {
        Ok(ran) => Ok(ran),
        Err(error) => {
            eprintln!("once more, since Wine failed: {error}");
            attempt()?.map_err(crate::Error::Usage)
        }
    }
}

/// Runs a package's suites in Wine, and those of this program, which are the same, in the simulated kernel.
pub fn side_by_side(package: &str) -> crate::Result<SideBySide> {
    let request = Request::with_servers();
    let in_wine = run(package, &request)?;
    let in_ntsim = Ran::new(&mut Ntsim, &request).map_err(crate::Error::Usage)?;
    Ok(SideBySide::new(&in_ntsim, &in_wine))
}

impl KunitRunner for TestDriver {
    fn environment(&self) -> Environment {
        Environment::Wine
    }

    fn list(&mut self, request: &Request) -> Result<Vec<Listed>, String> {
        Listed::read(&self.ask(IOCTL_LIST, request)?)
    }

    /// The report is the request's output. Where there is none, because the kernel crashed, it is what the driver printed.
    fn run(&mut self, request: &Request, _: Duration, line: &mut dyn FnMut(&str)) -> Result<(), String> {
        self.session().map_err(|error| error.to_string())?;
        self.take_lines();
        match self.ask(IOCTL_RUN, request) {
            Ok(text) => {
                text.lines().for_each(line);
                Ok(())
            }
            Err(error) => {
                self.take_lines().iter().for_each(|text| line(text));
                Err(error)
            }
        }
    }
}
