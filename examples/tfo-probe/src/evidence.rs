//! What a probe found out about one target, owned, and the figures drawn from it. For verdicts and reports.

use crate::protocol::{Attempt, FastOpenAttempt, Response, TargetResult};
use std::{string::String, vec::Vec};

/// One try: a connection with Fast Open asked for, and a plain one to compare it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Try {
    /// With Fast Open asked for.
    pub fast_open: FastOpenAttempt,
    /// Without.
    pub plain: Attempt,
}

/// Everything that is known about a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Name or address, as the user gave it (an IPv6 address without brackets).
    pub host: String,
    /// Port.
    pub port: u16,
    /// The driver's summary.
    pub target: TargetResult,
    /// The tries that were done, in order.
    pub tries: Vec<Try>,
}

impl Evidence {
    /// Takes target number `index` out of a response; `None` if it is not there.
    pub fn from_response(response: &Response<'_>, index: usize, host: String, port: u16) -> Option<Self> {
        let target = response.target(index)?;
        let tries = (0..target.tries_done)
            .map(|attempt| response.attempts(index, attempt).map(|(fast_open, plain)| Try { fast_open, plain }))
            .collect::<Option<Vec<_>>>()?;
        Some(Self { host, port, target, tries })
    }

    /// The tries whose times can be compared: all but the first contact, which can only ask for the cookie; or the first
    /// one too, if it is all there is.
    pub fn compared(&self) -> &[Try] {
        if self.tries.len() > 1 { &self.tries[1..] } else { &self.tries }
    }
}

/// A set of measured times in microseconds, sorted, not empty.
#[derive(Clone, Debug)]
pub struct Times(Vec<u32>);

impl Times {
    /// Collects times; `None` if there are none.
    pub fn collect(times: impl IntoIterator<Item = Option<u32>>) -> Option<Self> {
        let mut sorted: Vec<u32> = times.into_iter().flatten().collect();
        sorted.sort_unstable();
        if sorted.is_empty() { None } else { Some(Self(sorted)) }
    }

    /// Number of times.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Shortest.
    pub fn min(&self) -> u32 {
        self.0[0]
    }

    /// Longest.
    pub fn max(&self) -> u32 {
        self.0[self.0.len() - 1]
    }

    /// The one in the middle, or the mean of the two in the middle.
    pub fn median(&self) -> u32 {
        let middle = self.0.len() / 2;
        if self.0.len() % 2 == 1 { self.0[middle] } else { self.0[middle - 1].midpoint(self.0[middle]) }
    }

    /// The lower and the upper quartile, taken outward: of up to four times they are the shortest and the longest.
    pub fn quartiles(&self) -> (u32, u32) {
        let quarter = (self.0.len() - 1) / 4;
        (self.0[quarter], self.0[self.0.len() - 1 - quarter])
    }
}
