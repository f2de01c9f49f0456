//! Words: enums with a spelling in policy files, and lists of names.

use super::glob::stars;

/// An enum with a word for each variant.
pub trait Words: Copy + 'static {
    /// The words of all variants, in the order of the declaration.
    const WORDS: &'static [&'static str];

    /// The word as written in a policy.
    fn name(self) -> &'static str;
    /// The variant with this word.
    fn parse(word: &str) -> Option<Self>;
}

/// Names separated by blanks: a compact form for long lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameList(pub &'static str);

impl NameList {
    /// The names, in their order.
    pub fn iter(self) -> impl Iterator<Item = &'static str> {
        self.0.split_ascii_whitespace()
    }

    /// Whether the name is one of them.
    pub fn contains(self, name: &str) -> bool {
        self.iter().any(|known| known == name)
    }

    /// Whether one of them, as a pattern with `*`, matches the name.
    pub fn meet(self, name: &str) -> bool {
        self.iter().any(|pattern| stars(pattern, name))
    }
}

#[doc(hidden)]
#[macro_export]
/// Declares such an enum. If its variants can be compared, they go from the strictest to the loosest.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $(#[doc = concat!("`", $word, "`.")] $(#[$doc])* $variant),+ }

        impl $name {
            /// Every variant, in the order of the declaration.
            pub const ALL: [$name; Self::WORDS.len()] = [$($name::$variant),+];
            /// The words, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word as written in a policy.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The variant with this [`Self::name`].
            pub fn parse(word: &str) -> Option<$name> {
                $name::ALL.into_iter().find(|value| value.name() == word)
            }
        }

        impl $crate::words::Words for $name {
            const WORDS: &'static [&'static str] = $name::WORDS;
            fn name(self) -> &'static str {
                $name::name(self)
            }
            fn parse(word: &str) -> Option<$name> {
                $name::parse(word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub use words;
