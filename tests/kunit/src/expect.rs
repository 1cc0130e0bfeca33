//! Expectations, which record a failure and go on, and assertions, which also end the case, by `?`. Both may be used wherever
//! code of a case runs, also in its DPCs and threads, at any IRQL up to DISPATCH_LEVEL.

use crate::current;
use crate::suite::{Abort, Cause, Outcome};
use core::fmt::{self, Debug};
use core::panic::Location;

/// A check, as the macros make it.
pub struct Check<'a> {
    /// `EXPECTATION` or `ASSERTION`.
    pub kind: &'static str,
    /// What the caller has to say about it.
    pub message: Option<fmt::Arguments<'a>>,
}

impl Check<'_> {
    /// Whether the condition holds.
    #[track_caller]
    pub fn holds(&self, condition: bool, text: &'static str) -> bool {
        if !condition {
            self.fail(&[format_args!("expected: {text}")]);
        }
        condition
    }

    /// Whether both are equal, or unequal if that is `wanted`.
    #[track_caller]
    pub fn compares<A: PartialEq<B> + Debug + ?Sized, B: Debug + ?Sized>(
        &self,
        (left, left_text): (&A, &'static str),
        (right, right_text): (&B, &'static str),
        wanted: bool,
    ) -> bool {
        let as_wanted = (left == right) == wanted;
        if !as_wanted {
            let sign = if wanted { "==" } else { "!=" };
            self.fail(&[
                format_args!("expected: {left_text} {sign} {right_text}"),
                format_args!("left:     {left:?}"),
                format_args!("right:    {right:?}"),
            ]);
        }
        as_wanted
    }

    /// Is none: there is only the message.
    #[track_caller]
    pub fn fails(&self) {
        self.fail(&[]);
    }

    #[track_caller]
    fn fail(&self, what: &[fmt::Arguments<'_>]) {
        let location = Location::caller();
        match (self.message, what) {
            (Some(message), &[]) => current::fail(self.kind, location, &[message]),
            (Some(message), &[a]) => current::fail(self.kind, location, &[a, message]),
            (Some(message), &[a, b, c]) => current::fail(self.kind, location, &[a, b, c, message]),
            _ => current::fail(self.kind, location, what),
        }
    }
}

/// The outcome of an assertion.
pub fn outcome(passed: bool) -> Outcome {
    if passed { Ok(()) } else { Err(Abort(Cause::Recorded)) }
}

/// Expects a condition: `expect!(a < b)`, `expect!(a < b, "in round {round}")`. Records a failure otherwise, and says whether
/// it held.
#[macro_export]
macro_rules! expect {
    ($($check:tt)*) => { $crate::check!("EXPECTATION", $($check)*) };
}

/// Expects two values to be equal: `expect_eq!(a, b)`, or with a message.
#[macro_export]
macro_rules! expect_eq {
    ($($check:tt)*) => { $crate::check_eq!("EXPECTATION", true, $($check)*) };
}

/// Expects two values to differ: `expect_ne!(a, b)`, or with a message.
#[macro_export]
macro_rules! expect_ne {
    ($($check:tt)*) => { $crate::check_eq!("EXPECTATION", false, $($check)*) };
}

/// Like [`expect!`], but gives an [`Outcome`](crate::Outcome) whose error ends the case: `ensure!(a < b)?`.
#[macro_export]
macro_rules! ensure {
    ($($check:tt)*) => { $crate::expect::outcome($crate::check!("ASSERTION", $($check)*)) };
}

/// Like [`expect_eq!`], but ends the case: `ensure_eq!(a, b)?`.
#[macro_export]
macro_rules! ensure_eq {
    ($($check:tt)*) => { $crate::expect::outcome($crate::check_eq!("ASSERTION", true, $($check)*)) };
}

/// Like [`expect_ne!`], but ends the case: `ensure_ne!(a, b)?`.
#[macro_export]
macro_rules! ensure_ne {
    ($($check:tt)*) => { $crate::expect::outcome($crate::check_eq!("ASSERTION", false, $($check)*)) };
}

/// Records a failure: `fail!("no answer from {peer}")`.
#[macro_export]
macro_rules! fail {
    ($($message:tt)+) => {
        $crate::expect::Check {
            kind: "EXPECTATION",
            message: ::core::option::Option::Some(::core::format_args!($($message)+)),
        }
        .fails()
    };
}

/// Ends the case as skipped: `skip!("no second processor")?`.
#[macro_export]
macro_rules! skip {
    ($reason:literal) => {{
        $crate::mark_skipped!($reason);
        $crate::expect::outcome(false)
    }};
}

/// Marks the case as skipped and goes on, for its cleanup. A failure outweighs it.
#[macro_export]
macro_rules! mark_skipped {
    ($reason:literal) => {{
        static REASON: &str = $reason;
        $crate::current::mark_skipped(&REASON)
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! check {
    ($kind:literal, $condition:expr $(,)?) => {
        $crate::expect::Check { kind: $kind, message: ::core::option::Option::None }
            .holds($condition, ::core::stringify!($condition))
    };
    ($kind:literal, $condition:expr, $($message:tt)+) => {
        $crate::expect::Check { kind: $kind, message: ::core::option::Option::Some(::core::format_args!($($message)+)) }
            .holds($condition, ::core::stringify!($condition))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! check_eq {
    ($kind:literal, $wanted:literal, $left:expr, $right:expr $(,)?) => {
        $crate::expect::Check { kind: $kind, message: ::core::option::Option::None }.compares(
            (&$left, ::core::stringify!($left)),
            (&$right, ::core::stringify!($right)),
            $wanted,
        )
    };
    ($kind:literal, $wanted:literal, $left:expr, $right:expr, $($message:tt)+) => {
        $crate::expect::Check { kind: $kind, message: ::core::option::Option::Some(::core::format_args!($($message)+)) }
            .compares((&$left, ::core::stringify!($left)), (&$right, ::core::stringify!($right)), $wanted)
    };
}
