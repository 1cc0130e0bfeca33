//! A throw-away Wine prefix: made in a temporary folder, ended and removed with everything that runs in it, also when
//! this process fails or is interrupted.

use crate::log::{CHANNELS, Sink};
use crate::tools::Wine;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

/// Programs and libraries of Wine that a driver does not need and that cost time: .NET, HTML, menus, the desktop, and
/// the debugger that comes up when a process crashes.
const WITHOUT: &str = "mscoree,mshtml,winemenubuilder.exe,explorer.exe,winedbg.exe=d";
/// How long processes may take to end by themselves, and after being killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a process may take to get its environment. Few have none for good.
const STARTING: Duration = Duration::from_millis(100);

/// The prefixes that exist now. Whoever ends one holds the lock meanwhile, so that an interrupt waits for it; and so does who
/// starts a process in one, so that none comes after the end.
static LIVE: Mutex<Vec<(PathBuf, Wine)>> = Mutex::new(Vec::new());

/// A Wine prefix.
#[derive(Debug)]
pub(crate) struct Prefix {
    wine: Wine,
    directory: PathBuf,
}

impl Prefix {
    /// Makes a prefix; its processes write to `sink`.
    pub(crate) fn create(wine: Wine, sink: &Sink) -> Result<Prefix> {
        end_on_interrupt()?;
        let directory = {
            let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
            let folder = tempfile::Builder::new().prefix("wine-driver-").tempdir();
            let directory = folder.map_err(Error::io("making a folder"))?.keep();
            live.push((directory.clone(), wine.clone()));
            directory
        };
        let prefix = Prefix { wine, directory };
        let mut wineboot = prefix.command("wineboot");
        wineboot.arg("--init").stdin(Stdio::null()).stdout(Stdio::null()).stderr(sink.stdio()?);
        let status = start(&mut wineboot).and_then(|mut child| child.wait()).map_err(Error::io("running wineboot"))?;
        if !status.success() || !prefix.drive_c().is_dir() {
            return Err(Error::Lost { cause: format!("wineboot made no prefix ({status})"), log: sink.tail() });
        }
        // The service control manager that ran while the prefix was made does not find services that are made later.
        let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        kill_server(&prefix.directory, &prefix.wine);
        drop(live);
        Ok(prefix)
    }

    /// The folder that Windows programs see as `C:\`.
    pub(crate) fn drive_c(&self) -> PathBuf {
        self.directory.join("drive_c")
    }

    /// A command that runs a Windows program in this prefix, by [`start`].
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(&self.wine.loader);
        command.arg(program);
        environment(&mut command, &self.directory);
        command
    }

    /// Ends every process of the prefix and removes it.
    pub(crate) fn end(self) -> Result<()> {
        self.end_once()
    }

    /// Ends the prefix unless that was done.
    fn end_once(&self) -> Result<()> {
        let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        match live.iter().position(|(directory, _)| *directory == self.directory) {
            Some(index) => {
                let (directory, wine) = live.swap_remove(index);
                end(&directory, &wine)
            }
            None => Ok(()),
        }
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        if let Err(error) = self.end_once() {
            eprintln!("wine: {error}");
        }
    }
}

/// Starts a process of a prefix.
pub(crate) fn start(command: &mut Command) -> io::Result<Child> {
    let _live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Wine's debug channels: this crate's, then those that the caller asks for.
fn channels() -> String {
    std::env::var("WINEDEBUG").map_or_else(|_| CHANNELS.to_owned(), |more| format!("{CHANNELS},{more}"))
}

/// Sets what every process of a prefix shares.
fn environment(command: &mut Command, directory: &Path) {
    command
        .env("WINEPREFIX", directory)
        // Wine's temporary files go with the prefix, also those of a process that was killed.
        .env("TMPDIR", directory)
        .env("WINEDEBUG", channels())
        .env("WINEDLLOVERRIDES", WITHOUT)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("WINEARCH");
    // An interrupt from the terminal comes to this process alone, which then ends the others in order.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
}

/// Ends the prefix's server and with it its processes, and waits until the server is gone.
fn kill_server(directory: &Path, wine: &Wine) {
    let mut server = Command::new(&wine.server);
    environment(&mut server, directory);
    // Fails if no server runs, which is as good.
    let _ = server.arg("--kill").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Ends every process of a prefix, waits until they are gone, and removes the folder.
fn end(directory: &Path, wine: &Wine) -> Result<()> {
    kill_server(directory, wine);
    let mut left = wait_until_gone(directory);
    if !left.is_empty() {
        for process in &left {
            let _ = Command::new("kill").args(["-KILL", &process.to_string()]).status();
        }
        left = wait_until_gone(directory);
    }
    fs::remove_dir_all(directory).map_err(Error::io(format!("removing {}", directory.display())))?;
    if left.is_empty() { Ok(()) } else { Err(Error::LeftBehind(left)) }
}

/// Waits until no process of the prefix is left; gives those that stay.
fn wait_until_gone(directory: &Path) -> Vec<u32> {
    let begin = Instant::now();
    loop {
        let left = processes(directory);
        if left.is_empty() || begin.elapsed() > PATIENCE {
            return left;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes whose environment names the prefix. (Where there is no /proc, Wine's server is trusted.)
fn processes(directory: &Path) -> Vec<u32> {
    let wanted = [b"WINEPREFIX=", directory.as_os_str().as_encoded_bytes()].concat();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|process| environment_of(*process).split(|byte| *byte == 0).any(|variable| variable == wanted))
        .collect()
}

/// The environment of a process. That of one that is about to run another program is empty for a moment, which is waited for.
fn environment_of(process: u32) -> Vec<u8> {
    let begin = Instant::now();
    loop {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        // Neither the kernel's own processes nor those that have ended have a program.
        let has_program = || fs::read_link(format!("/proc/{process}/exe")).is_ok();
        if !environment.is_empty() || !has_program() || begin.elapsed() > STARTING {
            return environment;
        }
        std::thread::yield_now();
    }
}

/// Ends every prefix when this process is interrupted, then the process.
#[cfg(unix)]
fn end_on_interrupt() -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| match signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]) {
        Ok(mut signals) => {
            std::thread::spawn(move || {
                let Some(signal) = signals.forever().next() else { return };
                let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
                for (directory, wine) in live.iter() {
                    if let Err(error) = end(directory, wine) {
                        eprintln!("wine: {error}");
                    }
                }
                // The lock is kept to the end, so that nobody makes or ends a prefix any more.
                std::process::exit(128 + signal);
            });
        }
        Err(error) => result = Err(Error::io("watching for signals")(error)),
    });
    result
}

/// Elsewhere an interrupt ends this process at once; Wine's own processes follow when their input ends.
#[cfg(not(unix))]
fn end_on_interrupt() -> Result<()> {
    Ok(())
}
