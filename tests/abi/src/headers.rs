//! The independent headers, and how C names what wsk-sys declares.

use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The C compiler for Windows.
pub(crate) const COMPILER: &str = "x86_64-w64-mingw32-gcc";

/// A set of headers by one author.
#[derive(Clone, Debug)]
pub struct Header {
    /// Its name, which exceptions use.
    pub name: &'static str,
    /// C files that together include all of it: one per world that cannot meet the others in one file.
    pub(crate) units: Vec<Unit>,
}

/// A C file.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// A name for its files.
    pub(crate) name: &'static str,
    /// What it begins with.
    pub(crate) prologue: &'static str,
    /// Arguments of the compiler.
    pub(crate) arguments: Vec<String>,
}

/// The newest system that the headers know.
const VERSION: [&str; 2] = ["-D_WIN32_WINNT=0x0A00", "-DNTDDI_VERSION=0x0A00000C"];

const MINGW_KERNEL: &str = "#include <ntifs.h>\n#include <ntstatus.h>\n";
const MINGW_SOCKETS: &str =
    "#include <winsock2.h>\n#include <ws2tcpip.h>\n#include <mswsock.h>\n#include <mstcpip.h>\n";
const WINE: &str = "#include <stdarg.h>\n#include <ntstatus.h>\n#define WIN32_NO_STATUS\n#include <windef.h>\n\
    #include <winbase.h>\n#include <winternl.h>\n#include <ddk/ntifs.h>\n#include <ddk/wsk.h>\n#include <ws2tcpip.h>\n\
    #include <mstcpip.h>\n";

impl Header {
    /// mingw-w64's: the kernel's headers and Winsock's, but no `wsk.h`.
    pub fn mingw() -> Result<Header> {
        let folder = first(
            &[
                "/usr/share/mingw-w64/include",
                "/usr/x86_64-w64-mingw32/include",
                "/usr/x86_64-w64-mingw32/sys-root/mingw/include",
            ],
            "ddk/wdm.h",
            "mingw-w64-x86-64-dev",
        )?;
        let kernel = format!("-I{}", folder.join("ddk").display());
        Ok(Header {
            name: "mingw-w64",
            units: vec![
                Unit::new("mingw-kernel", MINGW_KERNEL, &[&kernel]),
                Unit::new("mingw-sockets", MINGW_SOCKETS, &[]),
            ],
        })
    }

    /// Wine's, with a `wsk.h`.
    pub fn wine() -> Result<Header> {
        let folder = first(
            &["/usr/include/wine/wine", "/usr/include/wine", "/usr/local/include/wine"],
            "windows/ddk/wsk.h",
            "libwine-dev",
        )?;
        let runtime = format!("-I{}", folder.join("msvcrt").display());
        let windows = format!("-I{}", folder.join("windows").display());
        Ok(Header { name: "Wine", units: vec![Unit::new("wine", WINE, &["-nostdinc", &runtime, &windows])] })
    }
}

impl Unit {
    fn new(name: &'static str, prologue: &'static str, arguments: &[&str]) -> Unit {
        let arguments = VERSION.iter().chain(arguments).map(|argument| (*argument).to_owned());
        Unit { name, prologue, arguments: arguments.collect() }
    }
}

/// The first folder that has a file.
pub(crate) fn first(folders: &[&str], file: &str, package: &'static str) -> Result<PathBuf> {
    let found = folders.iter().map(Path::new).find(|folder| folder.join(file).exists());
    found.map(Path::to_owned).ok_or(Error::Missing { package })
}

/// What C calls a structure: some have no name of their own there.
pub(crate) fn c_structure(name: &str) -> &str {
    match name {
        "CMSGHDR" => "WSACMSGHDR",
        "DEVICE_IO_CONTROL_PARAMETERS" => "__typeof__(((IO_STACK_LOCATION *)0)->Parameters.DeviceIoControl)",
        "IO_STACK_PARAMETERS" => "__typeof__(((IO_STACK_LOCATION *)0)->Parameters)",
        "IRP_OVERLAY" => "__typeof__(((IRP *)0)->Tail.Overlay)",
        "READ_WRITE_PARAMETERS" => "__typeof__(((IO_STACK_LOCATION *)0)->Parameters.Read)",
        "tcp_keepalive" => "struct tcp_keepalive",
        name => name,
    }
}

/// What C calls a field: some are deeper in there.
pub(crate) fn c_field<'a>(structure: &str, field: &'a str) -> &'a str {
    match (structure, field) {
        ("IRP", "SystemBuffer") => "AssociatedIrp.SystemBuffer",
        ("IRP", "Overlay") => "Tail.Overlay",
        ("IO_STACK_PARAMETERS", "Argument") => "Others",
        (_, field) => field,
    }
}

/// What C calls a constant.
pub(crate) fn c_constant(name: &str) -> &str {
    match name {
        "WSK_VERSION_1_0" => "MAKE_WSK_VERSION(1, 0)",
        name => name,
    }
}

/// What C calls a function or a type of functions: those that are looked up at run time are plain functions there.
pub(crate) fn c_function(name: &str) -> &str {
    match name {
        "PFN_EX_ALLOCATE_POOL2" => "ExAllocatePool2",
        "PFN_IO_OPEN_DRIVER_REGISTRY_KEY" => "IoOpenDriverRegistryKey",
        "PFN_IO_SET_COMPLETION_ROUTINE_EX" => "IoSetCompletionRoutineEx",
        "PFN_KE_QUERY_SYSTEM_TIME_PRECISE" => "KeQuerySystemTimePrecise",
        name => name,
    }
}
