//! Each case of the suite in many random orders of events, with every atomic of wsk-async as a point; of a case with parameters,
//! each of them.

use explore::pieces::Piece;
use kunit::host::{Explored, Host};
use std::process::ExitCode;

/// Schedules for each case, where the environment does not say otherwise.
const SCHEDULES: u64 = 100;

fn main() -> ExitCode {
    let (seed, schedules) = match Piece::asked_for() {
        Ok(Some(piece)) => (piece.seed(), piece.schedules()),
        Ok(None) => (0, SCHEDULES),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let explored = Explored::random(schedules).seed(seed);
    Host::new(suite::driver_entry).kernel(explore::kernel).explore(explored).by_param().main()
}
