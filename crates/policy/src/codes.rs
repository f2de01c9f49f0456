//! Codes of errors: what programs compare, while the texts are for people.

/// Gives an error `CODES` and `code()`, both from one table: a variant without a row does not compile, and
/// `docs/errors.md` has every code. After `else` come variants that only wrap an error with codes of its own.
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
            /// The codes of its own variants, in the order of the table.
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
