//! The schema accepts what the parser accepts, and refuses what it refuses.

use lifeboat_plan::{runbook_schema, schema};
use serde_json::{Value, json};

use crate::fixture::Sample;

/// The part of JSON Schema that the published schema uses.
fn accepts(schema: &Value, value: &Value) -> bool {
    Validator { definitions: &schema["definitions"] }.accepts(schema, value)
}

struct Validator<'a> {
    definitions: &'a Value,
}

impl Validator<'_> {
    fn accepts(&self, schema: &Value, value: &Value) -> bool {
        let Value::Object(rules) = schema else { panic!("not a schema: {schema}") };
        rules.iter().all(|(rule, wanted)| match rule.as_str() {
            "$schema" | "title" | "description" | "default" | "examples" | "format" | "pattern"
            | "maximum" | "properties" | "patternProperties" | "propertyNames" | "definitions" => {
                true
            }
            "type" => is_of_type(wanted.as_str().unwrap(), value),
            "const" => wanted == value,
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "minLength" => value.as_str().is_none_or(|text| !text.is_empty()),
            "minItems" => {
                value.as_array().is_none_or(|array| array.len() as u64 >= wanted.as_u64().unwrap())
            }
            "maxItems" => {
                value.as_array().is_none_or(|array| array.len() as u64 <= wanted.as_u64().unwrap())
            }
            "items" => {
                value.as_array().is_none_or(|array| array.iter().all(|v| self.accepts(wanted, v)))
            }
            "anyOf" => wanted.as_array().unwrap().iter().any(|schema| self.accepts(schema, value)),
            "$ref" => {
                let name = wanted.as_str().unwrap().rsplit('/').next().unwrap();
                self.accepts(&self.definitions[name], value)
            }
            "allOf" => wanted.as_array().unwrap().iter().all(|schema| self.accepts(schema, value)),
            "required" => {
                let has = |key: &Value| value.get(key.as_str().unwrap()).is_some();
                wanted.as_array().unwrap().iter().all(has)
            }
            "additionalProperties" => self.members_are_known(rules, wanted, value),
            other => panic!("the test does not know the rule {other}"),
        })
    }

    fn members_are_known(
        &self,
        rules: &serde_json::Map<String, Value>,
        more: &Value,
        value: &Value,
    ) -> bool {
        let Value::Object(members) = value else { return true };
        let listed = rules.get("properties");
        let by_prefix = rules.get("patternProperties").and_then(|p| p.as_object()?.values().next());
        members.iter().all(|(key, member)| {
            match (listed.and_then(|listed| listed.get(key)), by_prefix) {
                (Some(schema), _) => self.accepts(schema, member),
                (None, Some(schema)) if key.starts_with("tiers.") => self.accepts(schema, member),
                _ if more == &json!(false) => false,
                _ => self.accepts(more, member),
            }
        })
    }
}

fn is_of_type(wanted: &str, value: &Value) -> bool {
    match wanted {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    }
}

/// TOML as an editor hands it to a schema: dates are texts.
fn to_json(text: &str) -> Value {
    fn convert(value: &toml::Value) -> Value {
        match value {
            toml::Value::Datetime(datetime) => json!(datetime.to_string()),
            toml::Value::Table(table) => {
                table.iter().map(|(key, value)| (key.clone(), convert(value))).collect()
            }
            toml::Value::Array(array) => array.iter().map(convert).collect(),
            toml::Value::String(text) => json!(text),
            toml::Value::Integer(number) => json!(number),
            toml::Value::Float(number) => json!(number),
            toml::Value::Boolean(value) => json!(value),
        }
    }
    convert(&toml::Value::Table(text.parse().unwrap()))
}

#[test]
fn the_reference_plan_and_its_runbooks_are_accepted() {
    let sample = Sample::techit();
    assert!(accepts(&schema(), &to_json(&sample.plan)));
    for (path, text) in &sample.files {
        assert!(accepts(&runbook_schema(), &to_json(text)), "{path}");
    }
}

#[test]
fn a_whole_plan_as_json_is_accepted_too() {
    let plan = Sample::small().load().unwrap().plan;
    let mut json = plan.to_json();
    json.as_object_mut().unwrap().remove("runbooks");
    assert!(accepts(&schema(), &json), "{json:#}");
}

#[test]
fn what_the_parser_refuses_the_schema_refuses() {
    let small = Sample::small();
    for sample in [
        small.clone().with("paths =", "pahts ="),
        small.clone().with("kind = \"files\"", "kind = \"folders\""),
        small.clone().with("paths = [\"/srv/shop\"]", "paths = \"/srv/shop\""),
        small.clone().with("cron = \"0 2 * * *\"\n", ""),
        small.clone().with("format = 1", "format = 2"),
        small.clone().with("rpo = \"24h\"", "connect = \"service=x\""),
    ] {
        assert!(sample.load().is_err(), "{}", sample.plan);
        assert!(!accepts(&schema(), &to_json(&sample.plan)), "{}", sample.plan);
    }
}

#[test]
fn the_schema_is_published_as_it_is() {
    insta::assert_json_snapshot!("schema", schema());
    insta::assert_json_snapshot!("runbook-schema", runbook_schema());
}
