//! The usual peers. A host that refuses connections needs none: [`Network::add_host`](super::Network::add_host) makes one.

use super::peer::{Connection, Peer};
use std::time::Duration;

/// How much an echo may owe before it stops reading.
const ECHO_BACKLOG: usize = 64 * 1024;

/// Sends back what it receives, and ends when the other side does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Peer for Echo {
    fn received(&mut self, connection: &Connection, data: &[u8]) {
        connection.send(data);
        if connection.unsent() > ECHO_BACKLOG {
            connection.pause();
        }
    }

    fn drained(&mut self, connection: &Connection) {
        connection.resume();
    }
}

/// Reads everything, says nothing, and ends when the other side does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Peer for Discard {
    fn received(&mut self, _connection: &Connection, _data: &[u8]) {}
}

/// Accepts, and then does nothing: never reads, answers or ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Peer for Silent {
    fn connected(&mut self, connection: &Connection) {
        connection.pause();
    }

    fn received(&mut self, _connection: &Connection, _data: &[u8]) {}

    fn ended(&mut self, _connection: &Connection) {}
}

/// Ends its side as soon as the connection stands, and reads until the other side ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloseAtOnce;

impl Peer for CloseAtOnce {
    fn connected(&mut self, connection: &Connection) {
        connection.finish();
    }

    fn received(&mut self, _connection: &Connection, _data: &[u8]) {}
}

/// Resets the connection once it has received so many bytes; with 0, as soon as the connection stands.
#[derive(Clone, Copy, Debug)]
pub struct ResetAfter {
    /// Bytes to receive before.
    pub bytes: usize,
}

impl Peer for ResetAfter {
    fn connected(&mut self, connection: &Connection) {
        if self.bytes == 0 {
            connection.reset();
        }
    }

    fn received(&mut self, connection: &Connection, data: &[u8]) {
        self.bytes = self.bytes.saturating_sub(data.len());
        if self.bytes == 0 {
            connection.reset();
        }
    }
}

/// Reads a little now and then, and says nothing.
#[derive(Clone, Copy, Debug)]
pub struct SlowReader {
    /// Bytes read at a time.
    pub bytes: usize,
    /// Pause between two reads.
    pub every: Duration,
}

impl Peer for SlowReader {
    fn connected(&mut self, connection: &Connection) {
        connection.pause();
        connection.call_after(self.every);
    }

    fn received(&mut self, _connection: &Connection, _data: &[u8]) {}

    fn time(&mut self, connection: &Connection) {
        connection.take(self.bytes);
        connection.call_after(self.every);
    }
}
