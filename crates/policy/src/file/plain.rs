//! Forms of single values: a word, a boolean, a text.

use std::marker::PhantomData;

use serde_json::{Value as Json, json};

use super::form::Form;
use super::walk::At;
use crate::error::PolicyError;
use crate::fault::Remedy;
use crate::origin::Sourced;
use crate::printer::quoted;
use crate::tree::Value;
use crate::words::Words;

/// One of the known words.
pub struct Word<T>(PhantomData<T>);

impl<T: Words> Form for Word<T> {
    type Value = Sourced<T>;

    fn read(at: At) -> Result<Sourced<T>, PolicyError> {
        let word = at.string("a word in quotes")?;
        let value = T::parse(word).ok_or_else(|| PolicyError::UnknownWord {
            at: at.place(),
            key: at.key.to_owned().into(),
            word: word.to_owned(),
            remedy: Remedy::among(word, T::WORDS),
        })?;
        Ok(at.sourced(value))
    }

    fn schema() -> Json {
        json!({ "enum": T::WORDS })
    }

    fn text(value: &Sourced<T>) -> String {
        quoted(value.value.name())
    }
}

/// `true` or `false`.
pub struct Flag;

impl Form for Flag {
    type Value = Sourced<bool>;

    fn read(at: At) -> Result<Sourced<bool>, PolicyError> {
        match at.node.value {
            Value::Bool(value) => Ok(at.sourced(value)),
            _ => Err(at.wrong_type("true or false")),
        }
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }

    fn text(value: &Sourced<bool>) -> String {
        value.value.to_string()
    }
}

/// Any text.
pub struct Any;

impl Form for Any {
    type Value = Sourced<String>;
    const LISTED: &'static str = "an array of strings";

    fn read(at: At) -> Result<Sourced<String>, PolicyError> {
        Ok(at.sourced(at.string("a string")?.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }

    fn text(value: &Sourced<String>) -> String {
        quoted(&value.value)
    }
}
