//! A first driver: says hello to the server whose IPv4 address it is given, and gives back the answer.
#![no_std]

use core::net::SocketAddr;
use core::time::Duration;
use wsk_async::device::Ioctl;
use wsk_async::driver::{Driver, System};
use wsk_async::irql::Passive;
use wsk_async::mem::Buf;
use wsk_async::status::{BufResult, NtStatus, Result};
use wsk_async::wsk::Family;

struct First;
wsk_async::driver!(First);

impl Driver for First {
    const NAME: &'static str = "First";

    fn start(_: &System, _: &Passive) -> Result<Self> {
        Ok(First)
    }

    async fn control(&self, system: &System, _: &Passive, ioctl: &mut Ioctl) -> Result<usize> {
        let text = core::str::from_utf8(ioctl.input()).map_err(|_| NtStatus::INVALID_PARAMETER)?;
        let server = SocketAddr::V4(text.parse().map_err(|_| NtStatus::INVALID_ADDRESS)?);
        let wsk = system.wsk.capture(&system.timers, Duration::from_secs(10)).await?;
        let socket = wsk.connection_socket(Family::of(&server)).await?;
        socket.set_fast_open(true).await.ok();
        socket.bind(Family::of(&server).unspecified()).await?;
        let hello = Buf::copy_of(b"hello\n")?;
        let BufResult(result, _) = socket.connect_ex(server, Some(hello)).await;
        result?;
        let receive = socket.receive(Buf::with_capacity(512)?);
        let BufResult(result, answer) = system.timers.timeout(Duration::from_secs(5), receive).await;
        result?;
        for (to, from) in ioctl.output().iter_mut().zip(answer.iter()) {
            *to = *from;
        }
        Ok(answer.len())
    }
}
