//! The small values of the language: durations, addresses, commands, templates and their like.
//!
//! Each is a type that cannot hold nonsense. Most are read from one text; the macro
//! [`text_value!`] makes a plan value of whatever parses and prints itself.

pub mod address;
pub mod command;
pub mod connect;
pub mod cron;
pub mod duration;
pub mod estimate;
pub mod expectation;
pub mod instant;
pub mod names;
pub mod path;
pub mod pattern;
pub mod percent;
pub mod period;
pub mod secret;
pub mod selection;
pub mod sftp_place;
pub mod sink;
pub mod template;

/// Makes a plan value of types that implement `FromStr` and `Display`.
///
/// After `or` follows what to go on with when the text was wrong and that was reported.
macro_rules! text_value {
    ($($type:ty: $code:literal, $schema:tt $(, or $fallback:expr)?;)*) => {$(
        impl $crate::decode::Decode for $type {
            fn decode(
                value: $crate::decode::Value<'_>,
                cx: &mut $crate::decode::Context<'_>,
            ) -> Option<Self> {
                let Some(text) = value.get_ref().as_str() else {
                    cx.wrong_type(value, "a text in quotes");
                    return None;
                };
                if $crate::redact::refuse_secret(text, value.span(), cx) {
                    return None;
                }
                match text.parse::<$type>() {
                    Ok(parsed) => Some(parsed),
                    Err(error) => {
                        let finding = cx.error($code, value.span(), error.to_string());
                        cx.report(finding);
                        None
                    }
                }
            }

            fn encode(&self, _defaults: $crate::decode::Defaults) -> serde_json::Value {
                serde_json::Value::from(self.to_string())
            }

            fn schema(
                _definitions: &mut $crate::decode::Definitions,
            ) -> serde_json::Value {
                let mut schema = serde_json::json!($schema);
                schema["type"] = serde_json::Value::from("string");
                schema
            }

            $(
                fn fallback() -> Option<Self> {
                    Some($fallback)
                }
            )?
        }
    )*};
}
pub(crate) use text_value;
