//! Every operation of the suite's table of races, in every order of events up to a number of preemptions: it completes, is
//! cancelled, is dropped, and is dropped with what it was called on, at PASSIVE_LEVEL, on two processors, with completions inside
//! the call and later.

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = ["races.*_completes", "races.*_cancelled", "races.*_dropped", "races.*_owner"];
    let host = cases.into_iter().fold(explore::races::<false>(), |host, cases| host.only(cases));
    host.explore(explore::every_order()).main()
}
