//! What the tests of the WSK provider share: a C-style driver's way to call it, from a host thread that the kernel takes
//! for a system thread at PASSIVE_LEVEL.

#![allow(dead_code, unused_imports, unused_macros, reason = "each test binary uses its part")]

pub(crate) mod events;
pub(crate) mod listening;
mod memory;
mod net;

pub(crate) use net::{BlackHole, Listener, Net, Stream, over_both_networks};

use ntsim::wsk::Config;
use ntsim::{Builder, Kernel};
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::io::Write;
use std::net::SocketAddr;
use std::ptr::{self, null, null_mut};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once};
use std::thread;
use std::time::Duration;
use wsk_sys::*;

/// Longest wait for anything that a test expects to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const TAG: u32 = u32::from_le_bytes(*b"Test");

/// A running kernel. Only one can run in a process, so the tests of a binary take turns.
pub(crate) struct Running {
    pub(crate) kernel: Kernel,
    _turn: MutexGuard<'static, ()>,
}

impl Running {
    /// Starts a kernel.
    pub(crate) fn start(builder: Builder) -> Running {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap();
        panics_are_final();
        Running { kernel: builder.start(), _turn: turn }
    }
}

/// Starts a kernel over the host's sockets.
pub(crate) fn kernel(config: Config) -> Running {
    Net::host().kernel(config)
}

/// Makes a panic the end of the process: a failed test has left requests and sockets open, and a kernel that never ends
/// would keep the other tests waiting.
fn panics_are_final() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            // Not a macro: its output would be captured, and lost with the process.
            let trace = std::backtrace::Backtrace::capture();
            let _ =
                writeln!(std::io::stderr().lock(), "\n{}: {panic}\n{trace}", thread::current().name().unwrap_or("?"));
            std::process::exit(101);
        }));
    });
}

/// The client table that every test registers with.
pub(crate) static CLIENT_DISPATCH: WSK_CLIENT_DISPATCH =
    WSK_CLIENT_DISPATCH { Version: WSK_VERSION_1_0, Reserved: 0, WskClientEvent: None };

/// A registration with a captured provider.
pub(crate) struct Wsk {
    pub(crate) registration: Box<WSK_REGISTRATION>,
    pub(crate) npi: WSK_PROVIDER_NPI,
}

/// A registration block as a driver declares it.
pub(crate) fn block() -> Box<WSK_REGISTRATION> {
    Box::new(WSK_REGISTRATION {
        ReservedRegistrationState: 0,
        ReservedRegistrationContext: null_mut(),
        ReservedRegistrationLock: 0,
    })
}

/// Room for what a capture gives.
pub(crate) const NO_NPI: WSK_PROVIDER_NPI = WSK_PROVIDER_NPI { Client: null_mut(), Dispatch: null() };

/// Registers; the caller deregisters.
pub(crate) fn register(block: &mut WSK_REGISTRATION) -> NTSTATUS {
    let mut npi = WSK_CLIENT_NPI { ClientContext: null_mut(), Dispatch: &CLIENT_DISPATCH };
    // SAFETY: all arguments are valid; the block is boxed.
    unsafe { WskRegister(&mut npi, block) }
}

impl Wsk {
    pub(crate) fn new() -> Wsk {
        let mut registration = block();
        assert_eq!(register(&mut registration), STATUS_SUCCESS);
        let mut npi = NO_NPI;
        // SAFETY: registered above.
        let status = unsafe { WskCaptureProviderNPI(&mut *registration, WSK_INFINITE_WAIT, &mut npi) };
        assert_eq!(status, STATUS_SUCCESS);
        Wsk { registration, npi }
    }

    pub(crate) fn dispatch(&self) -> &'static WSK_PROVIDER_DISPATCH {
        // SAFETY: captured, and the provider's table is a static.
        unsafe { &*self.npi.Dispatch }
    }

    /// WskSocket, as started.
    pub(crate) fn start_socket(&self, family: u16, flags: u32) -> Op {
        self.start_socket_with(family, flags, null_mut(), null())
    }

    /// As [`start_socket`](Self::start_socket), with callbacks.
    pub(crate) fn start_socket_with(
        &self,
        family: u16,
        flags: u32,
        context: *mut c_void,
        dispatch: *const c_void,
    ) -> Op {
        // SAFETY: the IRP is the operation's.
        Op::start(|irp| unsafe {
            (self.dispatch().WskSocket)(
                self.npi.Client,
                family,
                SOCK_STREAM,
                IPPROTO_TCP,
                flags,
                context,
                dispatch,
                null_mut(),
                null_mut(),
                null_mut(),
                irp,
            )
        })
    }

    /// A connection socket of a family.
    pub(crate) fn socket(&self, family: u16) -> Sock {
        let (status, information) = self.start_socket(family, WSK_FLAG_CONNECTION_SOCKET).wait();
        assert_eq!(status, STATUS_SUCCESS);
        Sock(information as *mut WSK_SOCKET)
    }

    /// A connection socket bound to the wildcard address.
    pub(crate) fn bound(&self, family: u16) -> Sock {
        let socket = self.socket(family);
        assert_eq!(socket.bind(&Address::wildcard(family)).status(), STATUS_SUCCESS);
        socket
    }

    /// A socket connected to an address.
    pub(crate) fn connected(&self, to: SocketAddr) -> Sock {
        let socket = self.bound(if to.is_ipv4() { AF_INET } else { AF_INET6 });
        assert_eq!(socket.connect(&Address::from(to)).status(), STATUS_SUCCESS);
        socket
    }
}

impl Drop for Wsk {
    fn drop(&mut self) {
        // SAFETY: registered and captured in `new`.
        unsafe {
            WskReleaseProviderNPI(&mut *self.registration);
            WskDeregister(&mut *self.registration);
        }
    }
}

/// A SOCKADDR of either family.
#[derive(Clone, Copy)]
pub(crate) struct Address(pub(crate) SOCKADDR_STORAGE);

impl Address {
    pub(crate) fn wildcard(family: u16) -> Address {
        let mut storage = SOCKADDR_STORAGE::ZERO;
        storage.ss_family = family;
        Address(storage)
    }

    pub(crate) fn none() -> Address {
        Address(SOCKADDR_STORAGE::ZERO)
    }

    pub(crate) fn raw(&self) -> *mut SOCKADDR {
        ptr::from_ref(&self.0).cast_mut().cast()
    }

    pub(crate) fn get(&self) -> SocketAddr {
        let b = &self.0.ss_bytes;
        let port = u16::from_be_bytes([b[0], b[1]]);
        match self.0.ss_family {
            AF_INET => SocketAddr::from(([b[2], b[3], b[4], b[5]], port)),
            AF_INET6 => SocketAddr::from((<[u8; 16]>::try_from(&b[6..22]).unwrap(), port)),
            other => panic!("family {other}"),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        let mut storage = SOCKADDR_STORAGE::ZERO;
        storage.ss_bytes[..2].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                storage.ss_family = AF_INET;
                storage.ss_bytes[2..6].copy_from_slice(&v4.ip().octets());
            }
            SocketAddr::V6(v6) => {
                storage.ss_family = AF_INET6;
                storage.ss_bytes[6..22].copy_from_slice(&v6.ip().octets());
            }
        }
        Address(storage)
    }
}

/// What an operation's completion routine has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) status: NTSTATUS,
    pub(crate) information: usize,
    pub(crate) irql: KIRQL,
    pub(crate) pending_returned: bool,
    /// The processor that the routine ran on.
    pub(crate) processor: u32,
    /// Number of this completion among all of the process.
    pub(crate) order: u32,
}

/// One request: an IRP of its own, and what became of it.
pub(crate) struct Op {
    shared: Box<Shared>,
    /// What the call returned.
    pub(crate) returned: NTSTATUS,
}

struct Shared {
    irp: *mut IRP,
    calls: AtomicU8,
    completion: Mutex<Option<Completion>>,
    /// Set when there is a completion. A kernel's event, so that the simulator knows who waits for whom.
    completed: UnsafeCell<KEVENT>,
}

// SAFETY: the IRP is given to IoCancelIrp alone, which any thread may call until the operation is dropped.
unsafe impl Sync for Shared {}
// SAFETY: as above; the rest is the kernel's, which knows no threads' own objects.
unsafe impl Send for Shared {}

unsafe extern "system" fn on_complete(_device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    static ORDER: AtomicU32 = AtomicU32::new(0);
    // SAFETY: the context outlives the request: an operation is not dropped before it is completed.
    unsafe {
        let shared = &*context.cast::<Shared>();
        assert_eq!(shared.calls.fetch_add(1, Ordering::Relaxed), 0, "the routine was called before");
        *shared.completion.lock().unwrap() = Some(Completion {
            status: (*irp).IoStatus.Status,
            information: (*irp).IoStatus.Information,
            irql: KeGetCurrentIrql(),
            pending_returned: (*irp).PendingReturned != FALSE,
            processor: KeGetCurrentProcessorNumberEx(null_mut()),
            order: ORDER.fetch_add(1, Ordering::Relaxed),
        });
        // Last: whoever waits may free all of this right after.
        KeSetEvent(shared.completed.get(), 0, FALSE);
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

impl Op {
    pub(crate) fn start(call: impl FnOnce(*mut IRP) -> NTSTATUS) -> Op {
        Op::start_cancelled_if(false, call)
    }

    /// As [`start`](Self::start), with an IRP that was cancelled before it was sent.
    pub(crate) fn start_cancelled_if(cancelled: bool, call: impl FnOnce(*mut IRP) -> NTSTATUS) -> Op {
        // SAFETY: the arguments are plain numbers.
        let irp = unsafe { IoAllocateIrp(1, FALSE) };
        assert!(!irp.is_null());
        // SAFETY: an event is plain data, for which zero is valid; it is initialized in its place.
        let completed = UnsafeCell::new(unsafe { std::mem::zeroed() });
        let mut shared = Box::new(Shared { irp, calls: AtomicU8::new(0), completion: Mutex::new(None), completed });
        // SAFETY: the event stays where it is; the IRP was just allocated, with one stack location.
        unsafe {
            KeInitializeEvent(shared.completed.get(), NotificationEvent, FALSE);
            IoSetCompletionRoutine(irp, on_complete, (&raw mut *shared).cast(), true, true, true);
            if cancelled {
                IoCancelIrp(irp);
            }
        }
        let returned = call(irp);
        Op { shared, returned }
    }

    /// What became of it, if it is completed.
    pub(crate) fn completion(&self) -> Option<Completion> {
        *self.shared.completion.lock().unwrap()
    }

    pub(crate) fn pending(&self) -> bool {
        self.completion().is_none()
    }

    /// Waits for the completion.
    pub(crate) fn wait_full(&self) -> Completion {
        let patience = -(PATIENCE.as_nanos() as i64 / 100);
        let event = self.shared.completed.get().cast();
        // SAFETY: initialized when the operation was started.
        unsafe { KeWaitForSingleObject(event, Executive, KernelMode, FALSE, &patience) };
        let completion = self.completion().expect("the request is completed in time");
        if self.returned != STATUS_PENDING {
            assert_eq!(completion.status, self.returned, "what was returned is what it was completed with");
            assert!(!completion.pending_returned);
        } else {
            assert!(completion.pending_returned);
        }
        completion
    }

    /// Status and information.
    pub(crate) fn wait(&self) -> (NTSTATUS, usize) {
        let completion = self.wait_full();
        (completion.status, completion.information)
    }

    pub(crate) fn status(&self) -> NTSTATUS {
        self.wait().0
    }

    /// IoCancelIrp: whether a cancel routine was called.
    pub(crate) fn cancel(&self) -> bool {
        // SAFETY: the IRP lives as long as the operation.
        unsafe { IoCancelIrp(self.shared.irp) != FALSE }
    }

    pub(crate) fn irp(&self) -> *mut IRP {
        self.shared.irp
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        self.wait_full();
        // SAFETY: completed, and nobody else uses it.
        unsafe { IoFreeIrp(self.shared.irp) };
    }
}

/// A socket of the provider. Closed by hand: that is under test.
#[derive(Clone, Copy)]
pub(crate) struct Sock(pub(crate) *mut WSK_SOCKET);

// SAFETY: the provider's sockets are used from any thread.
unsafe impl Send for Sock {}

impl Sock {
    pub(crate) fn table(self) -> &'static WSK_PROVIDER_CONNECTION_DISPATCH {
        // SAFETY: a connection socket of the provider.
        unsafe { &*(*self.0).Dispatch.cast() }
    }

    pub(crate) fn bind(self, to: &Address) -> Op {
        // SAFETY: the IRP is the operation's, the address outlives the call.
        Op::start(|irp| unsafe { (self.table().WskBind)(self.0, to.raw(), 0, irp) })
    }

    pub(crate) fn connect(self, to: &Address) -> Op {
        // SAFETY: as in `bind`.
        Op::start(|irp| unsafe { (self.table().WskConnect)(self.0, to.raw(), 0, irp) })
    }

    pub(crate) fn connect_ex(self, to: &Address, data: Option<&Buf>) -> Op {
        let mut buffer = data.map(Buf::wsk_buf);
        let buffer = buffer.as_mut().map_or(null_mut(), ptr::from_mut);
        // SAFETY: as in `bind`; the data outlives the operation.
        Op::start(|irp| unsafe { (self.table().WskConnectEx)(self.0, to.raw(), buffer, 0, irp) })
    }

    pub(crate) fn send(self, data: &Buf) -> Op {
        // SAFETY: as in `connect_ex`.
        Op::start(|irp| unsafe { (self.table().WskSend)(self.0, &mut data.wsk_buf(), 0, irp) })
    }

    pub(crate) fn receive(self, into: &Buf, flags: u32) -> Op {
        // SAFETY: as in `connect_ex`.
        Op::start(|irp| unsafe { (self.table().WskReceive)(self.0, &mut into.wsk_buf(), flags, irp) })
    }

    /// A receive with a buffer of no bytes.
    pub(crate) fn receive_nothing(self, flags: u32) -> Op {
        let mut buffer = WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 };
        // SAFETY: as in `bind`.
        Op::start(|irp| unsafe { (self.table().WskReceive)(self.0, &mut buffer, flags, irp) })
    }

    pub(crate) fn disconnect(self, data: Option<&Buf>, flags: u32) -> Op {
        let mut buffer = data.map(Buf::wsk_buf);
        let buffer = buffer.as_mut().map_or(null_mut(), ptr::from_mut);
        // SAFETY: as in `connect_ex`.
        Op::start(|irp| unsafe { (self.table().WskDisconnect)(self.0, buffer, flags, irp) })
    }

    pub(crate) fn local_address(self) -> Result<SocketAddr, NTSTATUS> {
        let address = Address::none();
        // SAFETY: as in `bind`.
        let op = Op::start(|irp| unsafe { (self.table().WskGetLocalAddress)(self.0, address.raw(), irp) });
        if op.status() == STATUS_SUCCESS { Ok(address.get()) } else { Err(op.status()) }
    }

    pub(crate) fn remote_address(self) -> Result<SocketAddr, NTSTATUS> {
        let address = Address::none();
        // SAFETY: as in `bind`.
        let op = Op::start(|irp| unsafe { (self.table().WskGetRemoteAddress)(self.0, address.raw(), irp) });
        if op.status() == STATUS_SUCCESS { Ok(address.get()) } else { Err(op.status()) }
    }

    /// WskControlSocket with an IRP and one value in and out.
    pub(crate) fn control<I: Copy, O: Copy>(
        self,
        kind: WSK_CONTROL_SOCKET_TYPE,
        level: u32,
        code: u32,
        mut input: Option<I>,
        output: Option<&mut O>,
    ) -> (NTSTATUS, usize) {
        let input_size = if input.is_some() { size_of::<I>() } else { 0 };
        let input = input.as_mut().map_or(null_mut(), |input| ptr::from_mut(input).cast());
        let output_size = if output.is_some() { size_of::<O>() } else { 0 };
        let output = output.map_or(null_mut(), |output| ptr::from_mut(output).cast());
        // SAFETY: the buffers outlive the operation, which is waited for here.
        Op::start(|irp| unsafe {
            let control = self.table().Basic.WskControlSocket;
            control(self.0, kind, code, level, input_size, input, output_size, output, null_mut(), irp)
        })
        .wait()
    }

    pub(crate) fn set(self, level: u32, option: u32, value: u32) -> NTSTATUS {
        self.control(WskSetOption, level, option, Some(value), None::<&mut u32>).0
    }

    pub(crate) fn get(self, level: u32, option: u32) -> Result<u32, NTSTATUS> {
        let mut value = 0;
        match self.control(WskGetOption, level, option, None::<u32>, Some(&mut value)) {
            (STATUS_SUCCESS, 4) => Ok(value),
            (STATUS_SUCCESS, size) => panic!("{size} bytes"),
            (status, _) => Err(status),
        }
    }

    pub(crate) fn start_close(self) -> Op {
        // SAFETY: as in `bind`.
        Op::start(|irp| unsafe { (self.table().Basic.WskCloseSocket)(self.0, irp) })
    }

    pub(crate) fn close(self) {
        assert_eq!(self.start_close().wait(), (STATUS_SUCCESS, 0));
    }
}

/// Non-paged pool behind a chain of MDLs, which a WSK_BUF describes from an offset on.
pub(crate) struct Buf {
    pieces: Vec<(*mut u8, usize)>,
    mdls: Vec<*mut MDL>,
    offset: usize,
}

impl Buf {
    /// The bytes, in as many MDLs as it takes.
    pub(crate) fn new(bytes: &[u8]) -> Buf {
        Buf::chain(&bytes.chunks(4 << 20).collect::<Vec<_>>(), 0)
    }

    /// Room for `length` bytes.
    pub(crate) fn room(length: usize) -> Buf {
        Buf::new(&vec![0xAA; length])
    }

    /// A chain with an MDL for each piece, described from `offset` in the first on.
    pub(crate) fn chain(pieces: &[&[u8]], offset: usize) -> Buf {
        let mut buf = Buf { pieces: Vec::new(), mdls: Vec::new(), offset };
        for piece in pieces {
            // SAFETY: the pool is allocated with the size of the piece, and the MDL describes it.
            unsafe {
                let pool = ExAllocatePoolWithTag(NonPagedPoolNx, piece.len(), TAG).cast::<u8>();
                assert!(!pool.is_null());
                ptr::copy_nonoverlapping(piece.as_ptr(), pool, piece.len());
                let mdl = IoAllocateMdl(pool.cast(), piece.len() as u32, FALSE, FALSE, null_mut());
                assert!(!mdl.is_null());
                MmBuildMdlForNonPagedPool(mdl);
                if let Some(last) = buf.mdls.last() {
                    (**last).Next = mdl;
                }
                buf.pieces.push((pool, piece.len()));
                buf.mdls.push(mdl);
            }
        }
        buf
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.1).sum::<usize>() - self.offset
    }

    pub(crate) fn wsk_buf(&self) -> WSK_BUF {
        WSK_BUF { Mdl: self.mdls[0], Offset: self.offset as u32, Length: self.len() }
    }

    /// The bytes from the offset on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // SAFETY: the pool is this buffer's, and no request is in flight when a test looks.
        let all = self.pieces.iter().flat_map(|(start, length)| unsafe { std::slice::from_raw_parts(*start, *length) });
        all.copied().skip(self.offset).collect()
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        for (mdl, (pool, _)) in self.mdls.iter().zip(&self.pieces) {
            // SAFETY: allocated in `chain`, and no request is in flight.
            unsafe {
                IoFreeMdl(*mdl);
                ExFreePoolWithTag(pool.cast(), TAG);
            }
        }
    }
}

/// Bytes that say where they belong.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

/// Waits until a condition of another thread's holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
