//! End-to-end tests of the probe: the real driver in the simulated kernel, over real TCP and over the network in memory.
//!
//! Each scenario runs in a process of its own (this program again), because a private network can only be entered by a
//! process that is still alone with itself, and because a bug check ends a process. Where a scenario cannot run it says
//! SKIP and why.

mod driver;
mod faults;
mod memory;
mod network;
mod probing;

use libtest_mimic::{Arguments, Failed, Trial};
use std::{
    env,
    io::{Read, Write},
    process::{Child, Command, ExitStatus, Stdio, exit},
    thread,
    time::{Duration, Instant},
};

/// What a scenario runs in.
#[derive(Clone, Copy)]
enum Network {
    /// The host's.
    Host,
    /// One of its own, with this value of net.ipv4.tcp_fastopen.
    Private(u32),
}

struct Scenario {
    name: &'static str,
    network: Network,
    run: fn(),
}

const SCENARIO_FLAG: &str = "--run-scenario";
/// Exit status of a scenario that cannot run here.
const SKIPPED: i32 = 77;
/// No scenario takes half as long.
const LIMIT: Duration = Duration::from_secs(180);

fn main() {
    let scenarios: Vec<Scenario> = probing::SCENARIOS
        .into_iter()
        .chain(driver::SCENARIOS)
        .chain(faults::SCENARIOS)
        .chain(memory::SCENARIOS)
        .collect();
    if let [_, flag, name] = &env::args().collect::<Vec<_>>()[..]
        && flag == SCENARIO_FLAG
    {
        let scenario = scenarios.iter().find(|scenario| scenario.name == name).expect("a known scenario");
        if let Network::Private(tcp_fastopen) = scenario.network {
            network::enter_private(tcp_fastopen);
        }
        (scenario.run)();
        return;
    }
    let trials = scenarios.iter().map(|scenario| {
        let name = scenario.name;
        Trial::test(name, move || run_in_own_process(name))
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// Ends this scenario as one that cannot run here.
fn skip(reason: &str) -> ! {
    println!("{reason}");
    // Nothing after this line may be lost to buffering.
    let _ = std::io::stdout().flush();
    exit(SKIPPED)
}

fn run_in_own_process(name: &'static str) -> Result<(), Failed> {
    let child = Command::new(env::current_exe()?)
        .args([SCENARIO_FLAG, name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (status, output) = finish(child);
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) if status.code() == Some(SKIPPED) => {
            println!("SKIP {name}: {}", output.trim());
            Ok(())
        }
        Some(status) => Err(format!("{status}\n{output}").into()),
        None => Err(format!("not done after {LIMIT:?}\n{output}").into()),
    }
}

/// Waits for a process and collects what it writes. `None` if it had to be ended.
fn finish(mut child: Child) -> (Option<ExitStatus>, String) {
    let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let start = Instant::now();
    let status = loop {
        match child.try_wait().expect("the process can be waited for") {
            Some(status) => break Some(status),
            None if start.elapsed() > LIMIT => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let text = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
    (status, text(out) + &text(err))
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
