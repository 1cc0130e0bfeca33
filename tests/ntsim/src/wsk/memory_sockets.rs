//! The network in memory as a transport: the engine's terms on one side, [`crate::network`]'s on the other.

use super::address::Family;
use super::transport::{
    AddressAnswer, AddressQuery, Arrival, Done, Endpoint, NameAnswer, NameQuery, SocketOption, Transport,
};
use crate::cpu::{self, Readiness, Source};
use crate::network::{MachineSocket, Network, Question, Settings, Shared};
use crate::thread;
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use wsk_sys::{NTSTATUS, TCP_INFO_v0};

/// A network in memory, while a kernel runs on it.
pub(super) struct MemorySockets {
    network: Arc<Shared>,
}

impl MemorySockets {
    /// Starts the network.
    pub(super) fn start(network: &Network) -> MemorySockets {
        let network = Arc::clone(network.shared());
        network.start();
        MemorySockets { network }
    }
}

impl Transport for MemorySockets {
    fn open(&self, family: Family, processor: u32, source: Arc<dyn Source>) -> Result<Box<dyn Endpoint>, NTSTATUS> {
        let socket = MachineSocket::open(&self.network, family == Family::V6, processor, source);
        Ok(Box::new(MemoryEndpoint { socket }))
    }

    fn resolve(&self, query: NameQuery, done: Done<Vec<NameAnswer>>) {
        let NameQuery { node, service, flags, family, .. } = query;
        let v6 = family.map(|family| family == Family::V6);
        let answer = self.network.resolve(&Question { node: node.as_deref(), service: service.as_deref(), flags, v6 });
        on_a_thread(
            done,
            answer.map(|(addresses, mut name)| {
                let answer = |address| NameAnswer { address, canonical_name: name.take() };
                addresses.into_iter().map(answer).collect()
            }),
        );
    }

    fn name(&self, query: AddressQuery, done: Done<AddressAnswer>) {
        let answer = self.network.name(query.address, query.flags);
        on_a_thread(done, answer.map(|(node, service)| AddressAnswer { node, service }));
    }

    fn stop(&self) {
        self.network.stop();
    }
}

/// Hands over an answer at PASSIVE_LEVEL.
fn on_a_thread<T: Send + 'static>(done: Done<T>, answer: Result<T, NTSTATUS>) {
    thread::spawn("name resolution", cpu::pick_processor(), || done(answer)).expect("the host starts a thread");
}

/// A socket of the machine.
struct MemoryEndpoint {
    socket: MachineSocket,
}

impl Endpoint for MemoryEndpoint {
    fn arm(&self, interest: Readiness) {
        self.socket.arm(interest);
    }

    fn set_option(&self, option: SocketOption, value: u32) -> Result<(), NTSTATUS> {
        self.socket.set(|settings| match value_of(settings, option) {
            Value::Switch(switch) => *switch = value != 0,
            Value::Number(number) => *number = value,
        });
        Ok(())
    }

    fn option(&self, option: SocketOption) -> Result<u32, NTSTATUS> {
        Ok(match value_of(&mut self.socket.settings(), option) {
            Value::Switch(switch) => u32::from(*switch),
            Value::Number(number) => *number,
        })
    }

    fn bind(&self, local: &SocketAddr) -> Result<(), NTSTATUS> {
        self.socket.bind(*local)
    }

    fn listen(&self, fast_open: bool) -> Result<(), NTSTATUS> {
        self.socket.listen(fast_open)
    }

    fn accept(&self) -> Poll<Result<Arrival, NTSTATUS>> {
        let Some(arrival) = self.socket.accept() else { return Poll::Pending };
        let (local, remote) = (arrival.local, arrival.remote);
        let attach = Box::new(move |processor, source| {
            let socket = arrival.attach(processor, source);
            Ok(Box::new(MemoryEndpoint { socket }) as Box<dyn Endpoint>)
        });
        Poll::Ready(Ok(Arrival { local, remote, attach }))
    }

    fn connect(&self, remote: &SocketAddr, fast_open: Option<&[IoSlice<'_>]>) -> Result<usize, NTSTATUS> {
        let slices: Option<Vec<&[u8]>> = fast_open.map(|data| data.iter().map(|slice| &**slice).collect());
        self.socket.connect(*remote, slices.as_deref())
    }

    fn connected(&self) -> Poll<Result<(), NTSTATUS>> {
        self.socket.connected()
    }

    fn send(&self, data: &[IoSlice<'_>], push: bool) -> Poll<Result<usize, NTSTATUS>> {
        let slices: Vec<&[u8]> = data.iter().map(|slice| &**slice).collect();
        self.socket.send(&slices, push)
    }

    fn receive(&self, into: &mut [IoSliceMut<'_>]) -> Poll<Result<usize, NTSTATUS>> {
        let mut slices: Vec<&mut [u8]> = into.iter_mut().map(|slice| &mut **slice).collect();
        self.socket.receive(&mut slices)
    }

    fn peek(&self) -> Poll<Result<bool, NTSTATUS>> {
        self.socket.peek()
    }

    fn shutdown(&self) -> Result<(), NTSTATUS> {
        self.socket.shutdown()
    }

    fn local_address(&self) -> Result<SocketAddr, NTSTATUS> {
        self.socket.local_address()
    }

    fn remote_address(&self) -> Result<SocketAddr, NTSTATUS> {
        self.socket.remote_address()
    }

    fn tcp_info(&self) -> Result<TCP_INFO_v0, NTSTATUS> {
        self.socket.info()
    }

    fn close(self: Box<Self>) {
        self.socket.close();
    }
}

/// Where an option is kept.
enum Value<'a> {
    Switch(&'a mut bool),
    Number(&'a mut u32),
}

fn value_of(settings: &mut Settings, option: SocketOption) -> Value<'_> {
    let options = &mut settings.options;
    match option {
        SocketOption::ReuseAddress => Value::Switch(&mut settings.shares),
        SocketOption::V6Only => Value::Switch(&mut settings.v6_only),
        SocketOption::NoDelay => Value::Switch(&mut options.no_delay),
        SocketOption::KeepAlive => Value::Switch(&mut options.keep_alive),
        SocketOption::SendBuffer => Value::Number(&mut options.send_buffer),
        SocketOption::ReceiveBuffer => Value::Number(&mut options.receive_buffer),
        SocketOption::KeepIdle => Value::Number(&mut options.keep_idle),
        SocketOption::KeepInterval => Value::Number(&mut options.keep_interval),
        SocketOption::KeepCount => Value::Number(&mut options.keep_count),
    }
}
