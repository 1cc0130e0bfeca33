//! Debug output of drivers: the format language of DbgPrint over an array of 8-byte arguments.

use crate::cpu;
use crate::system::{Sink, system};
use crate::verifier::{Call, require_irql};
use std::ffi::c_void;
use std::fmt::Write as _;
use std::io::Write as _;
use wsk_sys::*;

/// The sink where a kernel has none of its own: standard error.
pub(crate) fn default_sink() -> Sink {
    Box::new(|line| {
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    })
}

/// The arguments of a call, one in eight bytes.
struct Arguments(*const u64);

impl Arguments {
    /// # Safety
    /// There is one more argument.
    unsafe fn next(&mut self) -> u64 {
        // SAFETY: the caller's promise.
        unsafe {
            let value = self.0.read();
            self.0 = self.0.add(1);
            value
        }
    }
}

/// One conversion, `%-08.4I64x` for instance.
#[derive(Default)]
struct Conversion {
    left: bool,
    zero: bool,
    plus: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
    /// Size of an integer in bytes.
    bytes: u32,
    /// `l` or `w`: strings are of UTF-16.
    wide: bool,
}

/// Formats as DbgPrint does.
///
/// # Safety
/// `format` is zero terminated, and the arguments are those that it names.
unsafe fn format(format: *const u8, arguments: *const u64) -> String {
    let mut out = String::new();
    let mut arguments = Arguments(arguments);
    // SAFETY: the caller's promise; no byte is read beyond the terminating zero.
    unsafe {
        let bytes = std::ffi::CStr::from_ptr(format.cast()).to_bytes();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
            out.push_str(&String::from_utf8_lossy(&rest[..at]));
            rest = convert(&rest[at + 1..], &mut arguments, &mut out);
        }
        out.push_str(&String::from_utf8_lossy(rest));
    }
    out
}

/// Does one conversion, whose text begins after the percent sign; returns the text after it.
///
/// # Safety
/// As [`format()`].
unsafe fn convert<'a>(mut text: &'a [u8], arguments: &mut Arguments, out: &mut String) -> &'a [u8] {
    let mut conversion = Conversion { bytes: 4, ..Conversion::default() };
    while let [flag @ (b'-' | b'0' | b'+' | b'#' | b' '), rest @ ..] = text {
        match flag {
            b'-' => conversion.left = true,
            b'0' => conversion.zero = true,
            b'+' => conversion.plus = true,
            b'#' => conversion.alternate = true,
            _ => {}
        }
        text = rest;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let (width, rest) = number(text, arguments);
        conversion.width = width.unwrap_or(0);
        text = rest;
        if let [b'.', rest @ ..] = text {
            let (precision, rest) = number(rest, arguments);
            conversion.precision = Some(precision.unwrap_or(0));
            text = rest;
        }
        loop {
            text = match text {
                [b'I', b'6', b'4', rest @ ..] | [b'l', b'l', rest @ ..] => {
                    conversion.bytes = 8;
                    rest
                }
                [b'I', b'3', b'2', rest @ ..] => rest,
                [b'h', b'h', rest @ ..] => {
                    conversion.bytes = 1;
                    rest
                }
                [b'h', rest @ ..] => {
                    conversion.bytes = 2;
                    rest
                }
                // `long` has 32 bits on Windows.
                [b'l' | b'w', rest @ ..] => {
                    conversion.wide = true;
                    rest
                }
                [b'I' | b'z' | b'j' | b't', rest @ ..] => {
                    conversion.bytes = 8;
                    rest
                }
                _ => break,
            };
        }
        let [kind, rest @ ..] = text else { return text };
        match kind {
            b'%' => out.push('%'),
            b'd' | b'i' => {
                let value = arguments.next();
                let shift = 64 - 8 * conversion.bytes;
                let value = ((value << shift) as i64) >> shift;
                let sign = if value < 0 {
                    "-"
                } else if conversion.plus {
                    "+"
                } else {
                    ""
                };
                conversion.put_number(sign, &value.unsigned_abs().to_string(), out);
            }
            b'u' | b'x' | b'X' | b'o' => {
                let value = arguments.next() & (u64::MAX >> (64 - 8 * conversion.bytes));
                let (prefix, digits) = match kind {
                    b'u' => ("", value.to_string()),
                    b'o' => ("", format!("{value:o}")),
                    b'x' => ("0x", format!("{value:x}")),
                    _ => ("0X", format!("{value:X}")),
                };
                conversion.put_number(if conversion.alternate { prefix } else { "" }, &digits, out);
            }
            b'p' => conversion.put_number("", &format!("{:016X}", arguments.next()), out),
            b'c' => conversion.put_text(&char::from(arguments.next() as u8).to_string(), out),
            b'C' => {
                let unit = arguments.next() as u16;
                conversion.put_text(&String::from_utf16_lossy(&[unit]), out);
            }
            b's' if !conversion.wide => {
                let string = arguments.next() as *const u8;
                conversion.put_text(&narrow(string, conversion.precision), out);
            }
            b's' | b'S' => {
                let string = arguments.next() as *const u16;
                conversion.put_text(&wide(string, conversion.precision), out);
            }
            b'Z' => {
                let string = arguments.next() as *const UNICODE_STRING;
                let string = if conversion.wide { crate::device::to_string(string) } else { counted(string) };
                conversion.put_text(&string, out);
            }
            other => {
                let _ = write!(out, "%{}", char::from(*other));
            }
        }
        rest
    }
}

impl Conversion {
    fn put_number(&self, sign: &str, digits: &str, out: &mut String) {
        let digits = match self.precision {
            Some(precision) => format!("{digits:0>precision$}"),
            None => digits.to_string(),
        };
        if self.zero && !self.left && self.precision.is_none() {
            let width = self.width.saturating_sub(sign.len());
            let _ = write!(out, "{sign}{digits:0>width$}");
        } else {
            self.put_text(&format!("{sign}{digits}"), out);
        }
    }

    fn put_text(&self, text: &str, out: &mut String) {
        let width = self.width;
        let _ = if self.left { write!(out, "{text:<width$}") } else { write!(out, "{text:>width$}") };
    }
}

/// A width or precision: digits, or a star for the next argument.
///
/// # Safety
/// As [`format()`].
unsafe fn number<'a>(text: &'a [u8], arguments: &mut Arguments) -> (Option<usize>, &'a [u8]) {
    if let [b'*', rest @ ..] = text {
        // SAFETY: the caller's promise.
        return (Some(unsafe { arguments.next() } as u32 as usize), rest);
    }
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = std::str::from_utf8(&text[..digits]).ok().and_then(|digits| digits.parse().ok());
    (value, &text[digits..])
}

/// A zero terminated string of bytes, up to `limit` of them.
///
/// # Safety
/// `string` is null, or valid up to its zero or the limit.
unsafe fn narrow(string: *const u8, limit: Option<usize>) -> String {
    if string.is_null() {
        return "(null)".into();
    }
    // SAFETY: the caller's promise.
    let bytes: Vec<u8> = (0..limit.unwrap_or(usize::MAX))
        .map(|at| unsafe { string.add(at).read() })
        .take_while(|&byte| byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// As [`narrow`], of UTF-16.
///
/// # Safety
/// As [`narrow`].
unsafe fn wide(string: *const u16, limit: Option<usize>) -> String {
    if string.is_null() {
        return "(null)".into();
    }
    // SAFETY: the caller's promise.
    let units: Vec<u16> = (0..limit.unwrap_or(usize::MAX))
        .map(|at| unsafe { string.add(at).read_unaligned() })
        .take_while(|&unit| unit != 0)
        .collect();
    String::from_utf16_lossy(&units)
}

/// A counted string of bytes: an ANSI_STRING, which has the shape of a UNICODE_STRING.
///
/// # Safety
/// `string` is null or valid.
unsafe fn counted(string: *const UNICODE_STRING) -> String {
    // SAFETY: the caller's promise.
    unsafe {
        match string.as_ref() {
            Some(string) => narrow(string.Buffer.cast(), Some(usize::from(string.Length))),
            None => "(null)".into(),
        }
    }
}

/// Whether a format has a conversion of UTF-16 text, whose tables are paged.
fn has_wide(format: &[u8]) -> bool {
    format.windows(2).any(|pair| matches!(pair, b"%S" | b"%C" | b"ws" | b"ls" | b"wZ"))
}

/// # Safety
/// `Format` is zero terminated, and `ArgList` points to the arguments that it names, eight bytes each.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn vDbgPrintEx(
    _ComponentId: u32,
    _Level: u32,
    Format: *const u8,
    ArgList: *mut c_void,
) -> u32 {
    // SAFETY: the caller's promise.
    let text = unsafe {
        let wide = has_wide(std::ffi::CStr::from_ptr(Format.cast()).to_bytes());
        let _call = require_irql("vDbgPrintEx", if wide { PASSIVE_LEVEL } else { HIGH_LEVEL });
        format(Format, ArgList.cast())
    };
    let _call = Call::begin("vDbgPrintEx");
    for line in text.trim_end_matches('\n').split('\n') {
        (system().sink)(line);
    }
    debug_assert!(cpu::irql() <= HIGH_LEVEL);
    STATUS_SUCCESS as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(text: &std::ffi::CStr, arguments: &[u64]) -> String {
        // SAFETY: the tests pass the arguments that their format names.
        unsafe { format(text.as_ptr().cast(), arguments.as_ptr()) }
    }

    #[test]
    fn integers_have_their_size_sign_and_width() {
        assert_eq!(print(c"%d %u", &[-1_i32 as u32 as u64, u64::from(u32::MAX)]), "-1 4294967295");
        assert_eq!(print(c"%hd %hhu", &[0xFFFF, 0x1FF]), "-1 255");
        assert_eq!(print(c"%I64d %llu", &[-1_i64 as u64, u64::MAX]), "-1 18446744073709551615");
        assert_eq!(print(c"[%5d] [%-5d] [%05d] [%+d]", &[42, 42, -42_i64 as u64, 42]), "[   42] [42   ] [-0042] [+42]");
        assert_eq!(print(c"%x %X %#x %08x", &[0xAB, 0xAB, 0xAB, 0xAB]), "ab AB 0xab 000000ab");
        assert_eq!(print(c"%p", &[0xFFFF_8000_0000_1000]), "FFFF800000001000");
        assert_eq!(print(c"%.3d|%*d", &[7, 4, 7]), "007|   7");
        assert_eq!(print(c"%lu%%", &[100]), "100%");
    }

    #[test]
    fn strings_are_narrow_wide_or_counted() {
        let narrow = c"narrow".as_ptr() as u64;
        let mut units: Vec<u16> = "wide".encode_utf16().chain([0]).collect();
        let counted = UNICODE_STRING { Length: 4, MaximumLength: 10, Buffer: units.as_mut_ptr() };
        let wide = units.as_ptr() as u64;
        assert_eq!(print(c"%s %.3s|", &[narrow, narrow]), "narrow nar|");
        assert_eq!(print(c"%ws %S %ls", &[wide, wide, wide]), "wide wide wide");
        assert_eq!(print(c"%wZ", &[&raw const counted as u64]), "wi");
        assert_eq!(print(c"%s", &[0]), "(null)");
        assert_eq!(print(c"%c", &[u64::from(b'x')]), "x");
    }

    #[test]
    fn an_unknown_or_cut_conversion_is_no_error() {
        assert_eq!(print(c"100%", &[]), "100");
        assert_eq!(print(c"%y", &[]), "%y");
    }
}
