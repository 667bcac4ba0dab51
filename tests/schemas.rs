//! The JSON Schemas are valid, and hold for their own examples. Real records are held to them in `end_to_end`.

mod common;

use common::root;
use serde_json::Value;

#[test]
fn every_schema_is_valid_and_accepts_its_examples() {
    for topic in
        ["news.raw", "news.scored", "news.observations", "sentiment.windows", "sentiment.alerts", "sentiment.actions", "news.feeds"]
    {
        let text = std::fs::read_to_string(root().join(format!("schemas/{topic}.json"))).unwrap();
        let schema: Value = serde_json::from_str(&text).unwrap();
        assert!(jsonschema::meta::is_valid(&schema), "{topic}");
        let validator = jsonschema::validator_for(&schema).unwrap();
        let examples = schema["examples"].as_array().unwrap_or_else(|| panic!("{topic} has no examples"));
        for example in examples {
            assert!(validator.is_valid(example), "{topic}: {example}");
        }
        assert!(!validator.is_valid(&Value::from(7)), "{topic} accepts anything");
    }
}
