//! Forms: the type of value that a key of a policy file holds, described once.
//!
//! A [`Form`] reads a value, writes it and has its schema. [`section!`] declares the type of a section
//! with the form of each key. It generates the list of known keys, the reading, the printing, the schema
//! and the result of `extends`. So a key is named only where its type is declared.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde_json::{Map, Value as Json, json};

use super::walk::{At, File};
use crate::command::Command;
use crate::error::PolicyError;
use crate::grant::Grant;
use crate::net::rule::Rule;
use crate::origin::{Origin, Sourced};
use crate::printer::Printer;
use crate::tree::{Format, Table};

/// The type of value that a key holds.
pub trait Form {
    type Value: Placed;
    /// The position of the key in its section's output: TOML has values before tables.
    const RANK: u8 = 1;
    /// The text to write if the value should be a list but is not. Continues the sentence after `write`.
    const LISTED: &'static str = "an array of words";

    fn read(at: At) -> Result<Self::Value, PolicyError>;
    fn schema() -> Json;

    /// As TOML, in one line; empty for forms that print in another way.
    fn text(_: &Self::Value) -> String {
        String::new()
    }

    fn print(value: &Self::Value, key: &str, out: &mut Printer) {
        out.line(key, &Self::text(value), value.place());
    }

    /// The result if a layer with `own` extends one with `base`.
    fn over(own: Self::Value, _base: Self::Value) -> Self::Value {
        own
    }
}

/// A value that may know where it was written.
pub trait Placed {
    fn place(&self) -> Option<&Origin> {
        None
    }
}

impl<T> Placed for Vec<T> {}
impl<K, V> Placed for BTreeMap<K, V> {}
impl<S: Section> Placed for S {}

macro_rules! placed {
    ($($type:ty),+) => {
        $(impl Placed for $type {
            fn place(&self) -> Option<&Origin> {
                Some(&self.origin)
            }
        })+
    };
}

placed!(Grant, Command, Rule);

impl<T> Placed for Sourced<T> {
    fn place(&self) -> Option<&Origin> {
        Some(&self.origin)
    }
}

/// A field for the value of a key; without the key it has its default.
pub trait Slot<V>: Default {
    fn filled(value: V) -> Self;
    fn value(&self) -> Option<&V>;
    fn over<F: Form<Value = V>>(self, base: Self) -> Self;
}

impl<V> Slot<V> for Option<V> {
    fn filled(value: V) -> Self {
        Some(value)
    }
    fn value(&self) -> Option<&V> {
        self.as_ref()
    }
    fn over<F: Form<Value = V>>(self, base: Self) -> Self {
        match (self, base) {
            (Some(own), Some(base)) => Some(F::over(own, base)),
            (own, base) => own.or(base),
        }
    }
}

/// An empty list equals an absent one.
impl<T> Slot<Vec<T>> for Vec<T> {
    fn filled(value: Vec<T>) -> Self {
        value
    }
    fn value(&self) -> Option<&Vec<T>> {
        (!self.is_empty()).then_some(self)
    }
    fn over<F: Form<Value = Self>>(self, base: Self) -> Self {
        F::over(self, base)
    }
}

impl<S: Section> Slot<S> for S {
    fn filled(value: S) -> Self {
        value
    }
    fn value(&self) -> Option<&S> {
        Some(self)
    }
    fn over<F: Form<Value = Self>>(self, base: Self) -> Self {
        F::over(self, base)
    }
}

/// Handles a fault: `Err` ends the reading.
pub type Failed<'f> = &'f mut dyn FnMut(PolicyError) -> Result<(), PolicyError>;

/// A table whose keys have forms.
pub trait Section: Default {
    /// The section's header, without brackets.
    const NAME: &'static str;
    /// Continues the sentence after the name of a key: `in [limits]`.
    const PLACE: &'static str;
    /// Like [`Form::RANK`].
    const RANK: u8;

    fn known() -> Vec<&'static str>;
    /// `prefix` precedes its keys in messages.
    fn read(file: &File, of: &Table, prefix: &str, failed: Failed) -> Result<Self, PolicyError>;
    fn properties() -> Map<String, Json>;
    fn print(&self, out: &mut Printer);
    fn over(self, base: Self) -> Self;
}

/// Parts of a section other than its keys with forms.
pub trait Beside: Sized {
    fn known_beside() -> Vec<&'static str> {
        vec![]
    }
    fn read_beside(&mut self, _: &File, _: &Table) -> Result<(), PolicyError> {
        Ok(())
    }
    fn properties_beside() -> Map<String, Json> {
        Map::new()
    }
    fn print_beside(&self, _: &mut Printer) {}
    fn over_beside(&mut self, _base: &mut Self) {}
}

/// Declares a section's type. `plain`: all keys have forms; `more`: it implements [`Beside`].
macro_rules! section {
    ($(#[$meta:meta])* pub struct $name:ident: $more:ident $section:literal, $place:literal {
        $($(#[$doc:meta])* $field:ident: $type:ty = $form:ty,)*
        $(; $($(#[$note:meta])* $beside:ident: $of:ty,)*)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = concat!("The key `", stringify!($field), "`.")] $(#[$doc])* pub $field: $type,)*
            $($($(#[$note])* pub $beside: $of,)*)?
        }
        $crate::file::form::section_of!($name: $more $section, $place { $($field = $form,)* $(; $($beside,)*)? });
    };
}

/// The same for a type that already exists.
macro_rules! section_of {
    (@beside plain $name:ty) => { impl $crate::file::form::Beside for $name {} };
    (@beside more $name:ty) => {};
    ($name:ty: $more:ident $section:literal, $place:literal {
        $($field:ident = $form:ty,)* $(; $($beside:ident,)*)?
    }) => {
        $crate::file::form::section_of!(@beside $more $name);
        impl $crate::file::form::Section for $name {
            const NAME: &'static str = $section;
            const PLACE: &'static str = $place;
            /// `[tools]` is written before all others.
            const RANK: u8 = if matches!($section.as_bytes(), b"tools") { 2 } else { 3 };

            fn known() -> Vec<&'static str> {
                let mut known = vec![$(stringify!($field)),*];
                known.extend(<Self as $crate::file::form::Beside>::known_beside());
                known
            }

            fn read(
                file: &$crate::file::walk::File,
                of: &$crate::tree::Table,
                prefix: &str,
                failed: $crate::file::form::Failed,
            ) -> Result<Self, $crate::error::PolicyError> {
                let mut all = Self::default();
                $(all.$field = $crate::file::form::field::<$form, _>(
                    file, of, prefix, stringify!($field), failed)?;)*
                $crate::file::form::Beside::read_beside(&mut all, file, of)?;
                Ok(all)
            }

            fn properties() -> serde_json::Map<String, serde_json::Value> {
                use $crate::file::form::{Beside, Form};
                let mut all = <Self as Beside>::properties_beside();
                $(all.insert(stringify!($field).to_owned(), <$form as Form>::schema());)*
                all
            }

            fn print(&self, out: &mut $crate::printer::Printer) {
                use $crate::file::form::{Beside, Form, print};
                for rank in 0..=3 {
                    $(if <$form as Form>::RANK == rank {
                        print::<$form, _>(&self.$field, stringify!($field), out);
                    })*
                }
                Beside::print_beside(self, out);
            }

            fn over(mut self, mut base: Self) -> Self {
                use $crate::file::form::{Beside, Slot};
                Beside::over_beside(&mut self, &mut base);
                Self {
                    $($field: Slot::over::<$form>(self.$field, base.$field),)*
                    $($($beside: self.$beside,)*)?
                }
            }
        }
    };
}
pub(crate) use {section, section_of};

/// The value of a key; the default if the table does not have it.
pub fn field<F: Form, S: Slot<F::Value>>(
    file: &File,
    of: &Table,
    prefix: &str,
    name: &str,
    failed: Failed,
) -> Result<S, PolicyError> {
    let Some(node) = of.get(name) else {
        return Ok(S::default());
    };
    let key = match prefix {
        "" => name.to_owned(),
        prefix => format!("{prefix}.{name}"),
    };
    match F::read(At {
        file,
        node,
        key: &key,
    }) {
        Ok(value) => Ok(S::filled(value)),
        Err(fault) => failed(fault).map(|()| S::default()),
    }
}

pub fn print<F: Form, S: Slot<F::Value>>(slot: &S, key: &str, out: &mut Printer) {
    if let Some(value) = slot.value() {
        F::print(value, key, out);
    }
}

/// The schema of a table with these keys and no others.
pub fn object(properties: Map<String, Json>) -> Json {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// A reference to a definition of the schema.
pub fn defined(name: &str) -> Json {
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// A nested section under its key.
pub struct Sub<S>(PhantomData<S>);

impl<S: Section> Form for Sub<S> {
    type Value = S;
    const RANK: u8 = S::RANK;

    fn read(at: At) -> Result<S, PolicyError> {
        let table = at.table(match at.file.format {
            Format::Toml if !at.key.contains('.') => "a section: its name in single brackets",
            _ => "a table: its keys with their values",
        })?;
        at.file.check_keys(table, S::PLACE, &S::known())?;
        S::read(at.file, table, at.key, &mut Err)
    }

    fn schema() -> Json {
        object(S::properties())
    }

    fn print(value: &S, _: &str, out: &mut Printer) {
        out.section(S::NAME);
        value.print(out);
    }

    fn over(own: S, base: S) -> S {
        own.over(base)
    }
}

/// A list whose elements have one form. A layer that extends another has the elements of both.
pub struct List<F>(PhantomData<F>);

impl<F: Form> Form for List<F> {
    type Value = Vec<F::Value>;

    fn read(at: At) -> Result<Vec<F::Value>, PolicyError> {
        at.elements(F::LISTED)?.map(F::read).collect()
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": F::schema() })
    }

    fn print(values: &Vec<F::Value>, key: &str, out: &mut Printer) {
        out.list(
            key,
            values.iter().map(|value| (F::text(value), value.place())),
        );
    }

    fn over(own: Vec<F::Value>, mut base: Vec<F::Value>) -> Vec<F::Value> {
        base.extend(own);
        base
    }
}
