//! As `races`, at DISPATCH_LEVEL, where an operation may also complete on the other processor than that of its socket: code at
//! DISPATCH_LEVEL meets a completion only there.

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = ["races.*_completes_at*", "races.*_cancelled_at*", "races.*_dropped_at*", "races.*_owner_at*"];
    let host = cases.into_iter().fold(explore::races::<true>(), |host, cases| host.only(cases));
    host.explore(explore::every_order()).main()
}
