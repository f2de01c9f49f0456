//! Error codes: programs compare these; the messages are for people.

/// Gives an error type `CODES` and `code()` from one table. A variant without a row does not compile;
/// `docs/errors.md` lists all codes. Variants after `else` only wrap an error that has its own codes.
///
/// ```
/// enum Fault { Absent, Busy { pid: u32 } }
/// creel_policy::codes!(Fault { Self::Absent => "absent", Self::Busy { .. } => "busy" });
/// assert_eq!(Fault::Busy { pid: 1 }.code(), Fault::CODES[1]);
/// # let _ = Fault::Absent;
/// ```
#[macro_export]
macro_rules! codes {
    ($error:ident { $($variant:pat => $code:literal),* $(,)? } $(else { $($wraps:pat => $inner:expr),* $(,)? })?) => {
        impl $error {
            /// The codes of this type's own variants, in the order of the table.
            pub const CODES: &[&str] = &[$($code),*];

            /// Stable from version to version.
            pub fn code(&self) -> &'static str {
                match self {
                    $($variant => $code,)*
                    $($($wraps => $inner,)*)?
                }
            }
        }
    };
}
