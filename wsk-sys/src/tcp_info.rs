//! What TCP says of a connection: [`SIO_TCP_INFO`](crate::SIO_TCP_INFO).
//!
//! For whoever measures. The version asked for (0, 1 or 2, a u32 in) says which structure comes out.

/// State of a TCP connection. WDK page: TCPSTATE.
pub type TCPSTATE = i32;
/// There is no connection.
pub const TCPSTATE_CLOSED: TCPSTATE = 0;
/// Listening.
pub const TCPSTATE_LISTEN: TCPSTATE = 1;
/// A connection was asked for.
pub const TCPSTATE_SYN_SENT: TCPSTATE = 2;
/// A connection was asked for by the peer.
pub const TCPSTATE_SYN_RCVD: TCPSTATE = 3;
/// Established.
pub const TCPSTATE_ESTABLISHED: TCPSTATE = 4;
/// This side has ended, the peer has not acknowledged it.
pub const TCPSTATE_FIN_WAIT_1: TCPSTATE = 5;
/// This side has ended, the peer has not.
pub const TCPSTATE_FIN_WAIT_2: TCPSTATE = 6;
/// The peer has ended, this side has not.
pub const TCPSTATE_CLOSE_WAIT: TCPSTATE = 7;
/// Both sides have ended at a time.
pub const TCPSTATE_CLOSING: TCPSTATE = 8;
/// Both sides have ended, this side last.
pub const TCPSTATE_LAST_ACK: TCPSTATE = 9;
/// Both sides have ended; late segments are waited for.
pub const TCPSTATE_TIME_WAIT: TCPSTATE = 10;
/// One more than the last.
pub const TCPSTATE_MAX: TCPSTATE = 11;

/// Figures of a TCP connection, version 0. Windows 10 1703. WDK page: TCP_INFO_v0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TCP_INFO_v0 {
    /// State.
    pub State: TCPSTATE,
    /// Largest segment, in bytes.
    pub Mss: u32,
    /// Age of the connection in milliseconds.
    pub ConnectionTimeMs: u64,
    /// Whether segments carry timestamps (`BOOLEAN`).
    pub TimestampsEnabled: u8,
    /// Smoothed round-trip time in microseconds.
    pub RttUs: u32,
    /// Shortest round-trip time in microseconds.
    pub MinRttUs: u32,
    /// Bytes sent and not acknowledged.
    pub BytesInFlight: u32,
    /// Congestion window in bytes.
    pub Cwnd: u32,
    /// Send window in bytes.
    pub SndWnd: u32,
    /// Receive window in bytes.
    pub RcvWnd: u32,
    /// Receive buffer in bytes.
    pub RcvBuf: u32,
    /// Bytes sent.
    pub BytesOut: u64,
    /// Bytes received.
    pub BytesIn: u64,
    /// Bytes received out of order.
    pub BytesReordered: u32,
    /// Bytes sent again.
    pub BytesRetrans: u32,
    /// Fast retransmissions.
    pub FastRetrans: u32,
    /// Duplicate acknowledgements received.
    pub DupAcksIn: u32,
    /// Retransmission timeouts.
    pub TimeoutEpisodes: u32,
    /// SYNs sent again.
    pub SynRetrans: u8,
}
layout!(TCP_INFO_v0, 88 / 8, State @ 0, Mss @ 4, ConnectionTimeMs @ 8, TimestampsEnabled @ 16, RttUs @ 20, MinRttUs @ 24,
    BytesInFlight @ 28, Cwnd @ 32, SndWnd @ 36, RcvWnd @ 40, RcvBuf @ 44, BytesOut @ 48, BytesIn @ 56, BytesReordered @ 64,
    BytesRetrans @ 68, FastRetrans @ 72, DupAcksIn @ 76, TimeoutEpisodes @ 80, SynRetrans @ 84);

/// Figures of a TCP connection, version 1. Windows 10 1809. WDK page: TCP_INFO_v1.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TCP_INFO_v1 {
    /// State.
    pub State: TCPSTATE,
    /// Largest segment, in bytes.
    pub Mss: u32,
    /// Age of the connection in milliseconds.
    pub ConnectionTimeMs: u64,
    /// Whether segments carry timestamps (`BOOLEAN`).
    pub TimestampsEnabled: u8,
    /// Smoothed round-trip time in microseconds.
    pub RttUs: u32,
    /// Shortest round-trip time in microseconds.
    pub MinRttUs: u32,
    /// Bytes sent and not acknowledged.
    pub BytesInFlight: u32,
    /// Congestion window in bytes.
    pub Cwnd: u32,
    /// Send window in bytes.
    pub SndWnd: u32,
    /// Receive window in bytes.
    pub RcvWnd: u32,
    /// Receive buffer in bytes.
    pub RcvBuf: u32,
    /// Bytes sent.
    pub BytesOut: u64,
    /// Bytes received.
    pub BytesIn: u64,
    /// Bytes received out of order.
    pub BytesReordered: u32,
    /// Bytes sent again.
    pub BytesRetrans: u32,
    /// Fast retransmissions.
    pub FastRetrans: u32,
    /// Duplicate acknowledgements received.
    pub DupAcksIn: u32,
    /// Retransmission timeouts.
    pub TimeoutEpisodes: u32,
    /// SYNs sent again.
    pub SynRetrans: u8,
    /// Times that the peer's window held sending up.
    pub SndLimTransRwin: u32,
    /// How long in all, in milliseconds.
    pub SndLimTimeRwin: u32,
    /// Bytes sent in those times.
    pub SndLimBytesRwin: u64,
    /// Times that the congestion window held sending up.
    pub SndLimTransCwnd: u32,
    /// How long in all, in milliseconds.
    pub SndLimTimeCwnd: u32,
    /// Bytes sent in those times.
    pub SndLimBytesCwnd: u64,
    /// Times that this side had nothing to send.
    pub SndLimTransSnd: u32,
    /// How long in all, in milliseconds.
    pub SndLimTimeSnd: u32,
    /// Bytes sent in those times.
    pub SndLimBytesSnd: u64,
}
layout!(TCP_INFO_v1, 136 / 8, State @ 0, Mss @ 4, ConnectionTimeMs @ 8, TimestampsEnabled @ 16, RttUs @ 20, MinRttUs @ 24,
    BytesInFlight @ 28, Cwnd @ 32, SndWnd @ 36, RcvWnd @ 40, RcvBuf @ 44, BytesOut @ 48, BytesIn @ 56, BytesReordered @ 64,
    BytesRetrans @ 68, FastRetrans @ 72, DupAcksIn @ 76, TimeoutEpisodes @ 80, SynRetrans @ 84,
    SndLimTransRwin @ 88, SndLimTimeRwin @ 92, SndLimBytesRwin @ 96, SndLimTransCwnd @ 104, SndLimTimeCwnd @ 108,
    SndLimBytesCwnd @ 112, SndLimTransSnd @ 120, SndLimTimeSnd @ 124, SndLimBytesSnd @ 128);

/// Figures of a TCP connection, version 2. Windows 11. WDK page: TCP_INFO_v2.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TCP_INFO_v2 {
    /// State.
    pub State: TCPSTATE,
    /// Largest segment, in bytes.
    pub Mss: u32,
    /// Age of the connection in milliseconds.
    pub ConnectionTimeMs: u64,
    /// Whether segments carry timestamps (`BOOLEAN`).
    pub TimestampsEnabled: u8,
    /// Smoothed round-trip time in microseconds.
    pub RttUs: u32,
    /// Shortest round-trip time in microseconds.
    pub MinRttUs: u32,
    /// Bytes sent and not acknowledged.
    pub BytesInFlight: u32,
    /// Congestion window in bytes.
    pub Cwnd: u32,
    /// Send window in bytes.
    pub SndWnd: u32,
    /// Receive window in bytes.
    pub RcvWnd: u32,
    /// Receive buffer in bytes.
    pub RcvBuf: u32,
    /// Bytes sent.
    pub BytesOut: u64,
    /// Bytes received.
    pub BytesIn: u64,
    /// Bytes received out of order.
    pub BytesReordered: u32,
    /// Bytes sent again.
    pub BytesRetrans: u32,
    /// Fast retransmissions.
    pub FastRetrans: u32,
    /// Duplicate acknowledgements received.
    pub DupAcksIn: u32,
    /// Retransmission timeouts.
    pub TimeoutEpisodes: u32,
    /// SYNs sent again.
    pub SynRetrans: u8,
    /// Times that the peer's window held sending up.
    pub SndLimTransRwin: u32,
    /// How long in all, in milliseconds.
    pub SndLimTimeRwin: u32,
    /// Bytes sent in those times.
    pub SndLimBytesRwin: u64,
    /// Times that the congestion window held sending up.
    pub SndLimTransCwnd: u32,
    /// How long in all, in milliseconds.
    pub SndLimTimeCwnd: u32,
    /// Bytes sent in those times.
    pub SndLimBytesCwnd: u64,
    /// Times that this side had nothing to send.
    pub SndLimTransSnd: u32,
    /// How long in all, in milliseconds.
    pub SndLimTimeSnd: u32,
    /// Bytes sent in those times.
    pub SndLimBytesSnd: u64,
    /// Segments received out of order.
    pub OutOfOrderPktsIn: u32,
    /// Whether the peers agreed on explicit congestion notification (`BOOLEAN`).
    pub EcnNegotiated: u8,
    /// Acknowledgements with an echo of congestion received.
    pub EceAcksIn: u32,
    /// Probe timeouts.
    pub PtoEpisodes: u32,
}
layout!(TCP_INFO_v2, 152 / 8, State @ 0, Mss @ 4, ConnectionTimeMs @ 8, TimestampsEnabled @ 16, RttUs @ 20, MinRttUs @ 24,
    BytesInFlight @ 28, Cwnd @ 32, SndWnd @ 36, RcvWnd @ 40, RcvBuf @ 44, BytesOut @ 48, BytesIn @ 56, BytesReordered @ 64,
    BytesRetrans @ 68, FastRetrans @ 72, DupAcksIn @ 76, TimeoutEpisodes @ 80, SynRetrans @ 84,
    SndLimTransRwin @ 88, SndLimTimeRwin @ 92, SndLimBytesRwin @ 96, SndLimTransCwnd @ 104, SndLimTimeCwnd @ 108,
    SndLimBytesCwnd @ 112, SndLimTransSnd @ 120, SndLimTimeSnd @ 124, SndLimBytesSnd @ 128,
    OutOfOrderPktsIn @ 136, EcnNegotiated @ 140, EceAcksIn @ 144, PtoEpisodes @ 148);
