//! The compile-time proof of layouts: size, alignment and the offset of every named field.
//!
//! A wrong figure stops the build of every target, so a wrong declaration cannot reach a driver.

/// Asserts `size`, `align` and `field @ offset` of a structure at compile time.
macro_rules! layout {
    ($type:ty, $size:literal / $align:literal $(, $field:ident @ $offset:literal)* $(,)?) => {
        const _: () = {
            assert!(core::mem::size_of::<$type>() == $size, concat!("size of ", stringify!($type)));
            assert!(core::mem::align_of::<$type>() == $align, concat!("alignment of ", stringify!($type)));
            $(assert!(
                core::mem::offset_of!($type, $field) == $offset,
                concat!("offset of ", stringify!($type), ".", stringify!($field))
            );)*
        };
    };
}
