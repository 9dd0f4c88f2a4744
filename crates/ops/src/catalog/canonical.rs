//! Canonical JSON: one document has one spelling, so that a hash and a signature mean something.
//!
//! Keys sorted by bytes, no blanks, no fractions. Whatever else JSON allows is refused.

use serde::Serialize;
use serde_json::Value;

/// A document has no canonical spelling.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// It holds a number that is not a whole one; those have many spellings.
    #[error("the number {0} is not whole")]
    Fraction(serde_json::Number),
    /// It cannot be written as JSON at all.
    #[error("not JSON")]
    Json(#[from] serde_json::Error),
}

/// Spells a document.
pub fn to_vec(document: &impl Serialize) -> Result<Vec<u8>, CanonicalError> {
    let mut spelled = Vec::new();
    write(&serde_json::to_value(document)?, &mut spelled)?;
    Ok(spelled)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) if !(number.is_u64() || number.is_i64()) => {
            return Err(CanonicalError::Fraction(number.clone()));
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            // Sorted here, since whether serde_json's map sorts depends on what else is built in.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (index, (key, item)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                write(item, out)?;
            }
            out.push(b'}');
        }
        plain => serde_json::to_writer(&mut *out, plain)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let spelled = to_vec(&json!({"b": [1, {"z": null, "a": "ü\n"}], "a": true})).unwrap();
        let expected = r#"{"a":true,"b":[1,{"a":"ü\n","z":null}]}"#;
        assert_eq!(String::from_utf8(spelled).unwrap(), expected);
    }

    #[test]
    fn fractions_are_refused() {
        assert!(matches!(to_vec(&json!([1.5])), Err(CanonicalError::Fraction(_))));
    }
}
