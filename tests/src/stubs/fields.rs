//! Reads the JSON objects of the control API: strictly, naming the field that is wrong.
//!
//! Not serde's derive: its errors name an unknown field, but not the one of a wrong type.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::world::Invalid;

/// A JSON object whose fields are taken out one by one; those left over are mistakes.
pub(super) struct Fields {
    at: String,
    map: Map<String, Value>,
}

/// The JSON in `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Invalid> {
    serde_json::from_slice(bytes).map_err(|error| Invalid::new("", format!("the body is not JSON: {error}")))
}

impl Fields {
    /// The object at the path `at`, which is empty for the whole body.
    pub(super) fn of(value: Value, at: &str) -> Result<Fields, Invalid> {
        match value {
            Value::Object(map) => Ok(Fields { at: at.to_owned(), map }),
            _ => Err(Invalid::new(at, "must be an object")),
        }
    }

    /// The path of one of its fields, as mistakes name it.
    pub(super) fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// A mistake in one of its fields.
    pub(super) fn wrong(&self, name: &str, message: &str) -> Invalid {
        Invalid::new(self.path(name), message)
    }

    /// A field that may be missing.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Invalid> {
        let Some(value) = self.map.remove(name) else { return Ok(None) };
        serde_json::from_value(value).map(Some).map_err(|error| self.wrong(name, &error.to_string()))
    }

    /// A field that must be there.
    pub(super) fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Invalid> {
        self.take(name)?.ok_or_else(|| self.wrong(name, "is required"))
    }

    /// A time like `"100ms"` that may be missing.
    pub(super) fn duration(&mut self, name: &str) -> Result<Option<Duration>, Invalid> {
        let Some(millis) = self.signed_millis(name)? else { return Ok(None) };
        let millis = u64::try_from(millis).map_err(|_| self.wrong(name, "must not be negative"))?;
        Ok(Some(Duration::from_millis(millis)))
    }

    /// A time like `"1h"` or `"-1m"` that may be missing, in milliseconds.
    pub(super) fn signed_millis(&mut self, name: &str) -> Result<Option<i64>, Invalid> {
        let Some(text) = self.take::<String>(name)? else { return Ok(None) };
        let millis = signed_millis(&text);
        millis.map(Some).ok_or_else(|| self.wrong(name, "must be a time such as \"100ms\", \"1s\" or \"1h\""))
    }

    /// Complains about the first field nobody took.
    pub(super) fn end(self) -> Result<(), Invalid> {
        match self.map.keys().next() {
            Some(name) => Err(self.wrong(name, "is not a field here")),
            None => Ok(()),
        }
    }
}

/// A number and its unit (`ms`, `s`, `m`, `h`), in milliseconds.
pub(super) fn signed_millis(text: &str) -> Option<i64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let unit = match unit {
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return None,
    };
    let millis = number.parse::<f64>().ok()? * unit;
    // Beyond a century a time is a mistake, and sums with it would overflow.
    (millis.abs() < 3.2e12).then_some(millis as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_numbers_with_units() {
        assert_eq!(signed_millis("100ms"), Some(100));
        assert_eq!(signed_millis("1.5s"), Some(1_500));
        assert_eq!(signed_millis("-1m"), Some(-60_000));
        assert_eq!(signed_millis("1h"), Some(3_600_000));
        for wrong in ["", "1", "s", "1d", "1 s", "NaNs", "1e300h"] {
            assert_eq!(signed_millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_wrong_field_is_named_with_its_path() {
        let mut fields = Fields::of(json!({"rate": "x", "later": 1}), "[2]").unwrap();
        assert_eq!(fields.take::<f64>("rate").unwrap_err().field, "[2].rate");
        assert_eq!(fields.required::<f64>("path").unwrap_err().field, "[2].path");
        assert_eq!(fields.end().unwrap_err().field, "[2].later");
    }
}
