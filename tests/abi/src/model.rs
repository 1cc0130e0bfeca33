//! What the proof compares: structures with their fields, constants, functions, and the types of all of these.

use crate::headers::c_field;
use wsk_sys::STATUS_TABLE;

/// Everything that one side declares.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Structures and unions.
    pub structures: Vec<Structure>,
    /// Constants that are integers.
    pub constants: Vec<Constant>,
    /// Imported functions, and types of function pointers.
    pub functions: Vec<Function>,
    /// Constants that are not integers, and structures that are not C's.
    pub others: Vec<&'static str>,
}

/// A structure or union.
#[derive(Clone, Debug)]
pub struct Structure {
    /// Its name.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: u64,
    /// Its alignment in bytes.
    pub align: u64,
    /// Its public fields.
    pub fields: Vec<Field>,
}

/// A field.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its type.
    pub ty: Type,
}

/// A constant.
#[derive(Clone, Debug)]
pub struct Constant {
    /// Its name, or the expression that it is the value of.
    pub name: &'static str,
    /// Size of its type in bytes.
    pub bytes: u8,
    /// Its value.
    pub value: i128,
}

/// A function, or the type of a pointer to one.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The file that it is imported from; a type and an inline function have none.
    pub library: Option<&'static str>,
    /// Its type.
    pub ty: Type,
}

/// A type, as far as the ABI goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Nothing, or behind a pointer: anything.
    Void,
    /// An enumeration of a header. gcc gives it a sign only where it has a value below zero; Windows always does.
    Enumeration {
        /// Its size.
        bytes: u8,
    },
    /// An integer.
    Integer {
        /// Its size.
        bytes: u8,
        /// Whether it can be below zero.
        signed: bool,
    },
    /// A pointer.
    Pointer(Box<Type>),
    /// An array and its length.
    Array(u64, Box<Type>),
    /// A structure or union by name, without the underscores and the case that C's tags have.
    Structure {
        /// The name; empty for one without.
        name: String,
        /// Its size in bytes, where known.
        size: Option<u64>,
    },
    /// A function's result and parameters.
    Function(Box<Type>, Vec<Type>),
}

impl Type {
    /// Whether a declaration of wsk-sys may stand for one of a header. A pointer to anything stands for every pointer, bytes
    /// for every structure of their size, and a character has no sign.
    pub fn stands_for(&self, header: &Type) -> bool {
        match (self, header) {
            (Type::Pointer(_), Type::Pointer(to)) if **to == Type::Void => true,
            (Type::Pointer(to), Type::Pointer(_)) if **to == Type::Void => true,
            (Type::Pointer(a), Type::Pointer(b)) => match (&**a, &**b) {
                (Type::Integer { bytes: 1, .. }, Type::Integer { bytes: 1, .. }) => true,
                (a, b) => a.stands_for(b),
            },
            (Type::Array(a, of), Type::Array(b, by)) => {
                a == b && (of.stands_for(by) || (of.size() == Some(1) && by.size() == Some(1)))
            }
            (Type::Array(length, of), Type::Structure { size: Some(size), .. }) => {
                of.size() == Some(1) && length == size
            }
            (Type::Integer { bytes, .. }, Type::Enumeration { bytes: other }) => bytes == other,
            // LARGE_INTEGER and its unsigned brother.
            (Type::Integer { bytes: 8, signed }, Type::Structure { name, .. }) => {
                name == if *signed { "LARGEINTEGER" } else { "ULARGEINTEGER" }
            }
            (Type::Structure { name: a, .. }, Type::Structure { name: b, .. }) => a == b || b.is_empty(),
            (Type::Function(a, ours), Type::Function(b, theirs)) => {
                a.stands_for(b)
                    && ours.len() == theirs.len()
                    && ours.iter().zip(theirs).all(|(ours, theirs)| ours.stands_for(theirs))
            }
            (a, b) => a == b,
        }
    }

    /// Its size in bytes, where known.
    fn size(&self) -> Option<u64> {
        match self {
            Type::Integer { bytes, .. } | Type::Enumeration { bytes } => Some(u64::from(*bytes)),
            Type::Pointer(_) => Some(8),
            Type::Array(length, of) => of.size().map(|size| length * size),
            Type::Structure { size, .. } => *size,
            Type::Void | Type::Function(..) => None,
        }
    }
}

/// A name as it is compared: C has `_IRP`, `sockaddr` and `_WSACMSGHDR` for what everybody calls by another name.
pub(crate) fn plain(name: &str) -> String {
    let name = name.replace('_', "").to_uppercase();
    match name.as_str() {
        "WSACMSGHDR" => "CMSGHDR".to_owned(),
        "RTLOSVERSIONINFOW" => "OSVERSIONINFOW".to_owned(),
        "SOCKADDRSTORAGELH" => "SOCKADDRSTORAGE".to_owned(),
        "SOCKADDRIN6LH" => "SOCKADDRIN6".to_owned(),
        _ => name,
    }
}

// What build/emit.rs and the transcript write.

pub(crate) fn pointer(to: Type) -> Type {
    Type::Pointer(Box::new(to))
}

fn pointee(pointer: Type) -> Type {
    match pointer {
        Type::Pointer(to) => *to,
        other => panic!("not a pointer: {other:?}"),
    }
}

fn array(length: usize, of: Type) -> Type {
    Type::Array(length as u64, Box::new(of))
}

pub(crate) fn structure(name: &str) -> Type {
    Type::Structure { name: plain(name), size: None }
}

pub(crate) fn function(result: Type, parameters: Vec<Type>) -> Type {
    Type::Function(Box::new(result), parameters)
}

/// Size of what a pointer points to.
const fn size_behind<T>(_: *const T) -> u64 {
    size_of::<T>() as u64
}

/// A field of a type.
macro_rules! field {
    ($of:path, $field:ident, $ty:expr) => {{
        let place = core::mem::MaybeUninit::<$of>::uninit();
        // SAFETY: the address of a field is taken; nothing is read.
        let field = unsafe { &raw const (*place.as_ptr()).$field };
        Field {
            name: stringify!($field),
            offset: core::mem::offset_of!($of, $field) as u64,
            size: size_behind(field),
            ty: $ty,
        }
    }};
}

include!(concat!(env!("OUT_DIR"), "/table.rs"));

impl Table {
    /// What wsk-sys declares.
    pub fn wsk_sys() -> Table {
        let mut table = wsk_sys_table();
        table.constants.extend(STATUS_TABLE.iter().map(|status| Constant {
            name: status.name,
            bytes: 4,
            value: status.value.into(),
        }));
        // Functions that the compiler evaluates, by an example each, and the parts of an identifier, in words that C
        // understands as well.
        let examples = [
            ("CTL_CODE(34, 0x801, 2, 1)", 4, wsk_sys::CTL_CODE(34, 0x801, 2, 1).into()),
            ("DEVICE_TYPE_FROM_CTL_CODE(0x226006)", 4, wsk_sys::DEVICE_TYPE_FROM_CTL_CODE(0x22_6006).into()),
            ("METHOD_FROM_CTL_CODE(0x226006)", 4, wsk_sys::METHOD_FROM_CTL_CODE(0x22_6006).into()),
            ("IoGetFunctionCodeFromCtlCode(0x226006)", 4, wsk_sys::IoGetFunctionCodeFromCtlCode(0x22_6006).into()),
            ("MAKE_WSK_VERSION(1, 2)", 2, wsk_sys::MAKE_WSK_VERSION(1, 2).into()),
            ("NPI_WSK_INTERFACE_ID.Data1", 4, wsk_sys::NPI_WSK_INTERFACE_ID.Data1.into()),
            ("NPI_WSK_INTERFACE_ID.Data2", 2, wsk_sys::NPI_WSK_INTERFACE_ID.Data2.into()),
            ("NPI_WSK_INTERFACE_ID.Data3", 2, wsk_sys::NPI_WSK_INTERFACE_ID.Data3.into()),
            ("NPI_WSK_INTERFACE_ID.Data4", 8, u64::from_be_bytes(wsk_sys::NPI_WSK_INTERFACE_ID.Data4).into()),
            ("WSA_CMSG_LEN(20)", 8, wsk_sys::WSA_CMSG_LEN(20) as i128),
            ("WSA_CMSG_SPACE(20)", 8, wsk_sys::WSA_CMSG_SPACE(20) as i128),
            ("WSA_CMSGHDR_ALIGN(20)", 8, wsk_sys::WSA_CMSGHDR_ALIGN(20) as i128),
            ("WSA_CMSGDATA_ALIGN(20)", 8, wsk_sys::WSA_CMSGDATA_ALIGN(20) as i128),
            ("IoSizeOfIrp(3)", 2, wsk_sys::IoSizeOfIrp(3).into()),
            ("BYTE_OFFSET(0x12345)", 8, wsk_sys::BYTE_OFFSET(0x12345) as i128),
            (
                "ADDRESS_AND_SIZE_TO_SPAN_PAGES(0x1FFF, 2)",
                8,
                wsk_sys::ADDRESS_AND_SIZE_TO_SPAN_PAGES(0x1FFF, 2) as i128,
            ),
            ("BYTES_TO_PAGES(0x1001)", 8, wsk_sys::BYTES_TO_PAGES(0x1001) as i128),
            ("ROUND_TO_PAGES(0x1001)", 8, wsk_sys::ROUND_TO_PAGES(0x1001) as i128),
            ("_WSAIOR(IOC_WS2, 23)", 4, wsk_sys::_WSAIOR(wsk_sys::IOC_WS2, 23).into()),
            ("_WSAIOW(IOC_WS2, 23)", 4, wsk_sys::_WSAIOW(wsk_sys::IOC_WS2, 23).into()),
            ("_WSAIORW(IOC_WS2, 23)", 4, wsk_sys::_WSAIORW(wsk_sys::IOC_WS2, 23).into()),
            ("_WSAIO(IOC_WS2, 23)", 4, wsk_sys::_WSAIO(wsk_sys::IOC_WS2, 23).into()),
            ("NT_SUCCESS(0x103)", 1, wsk_sys::NT_SUCCESS(0x103).into()),
            ("NT_INFORMATION(0x40000013)", 1, wsk_sys::NT_INFORMATION(0x4000_0013).into()),
            ("NT_WARNING(0x80000005)", 1, wsk_sys::NT_WARNING(0x8000_0005_u32 as i32).into()),
            ("NT_ERROR(0xC0000001)", 1, wsk_sys::NT_ERROR(0xC000_0001_u32 as i32).into()),
        ];
        table.constants.extend(examples.map(|(name, bytes, value)| Constant { name, bytes, value }));
        table
    }

    /// What windows-sys has of it. Types are not compared, and what is deeper in a structure there is left out.
    pub fn windows_sys() -> Table {
        let mut table = windows_sys_table();
        for structure in &mut table.structures {
            structure.fields.retain(|field| c_field(structure.name, field.name) == field.name);
        }
        table
    }
}
