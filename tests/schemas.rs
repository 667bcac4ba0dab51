//! The JSON Schemas are valid, hold for their own examples, and keep what their version has promised; `docs/asyncapi.yaml` names them all.
//! Real records are held to them in `end_to_end`.

mod common;

#[path = "schemas/compatibility.rs"]
mod compatibility;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bellwether::actions;
use bellwether::config::Config;
use bellwether::decode::decode;
use bellwether::detect::AlertRecord;
use bellwether::ingest::Memory;
use bellwether::kafka::topics::plan;
use bellwether::news::{EventTime, Observation, Scored};
use bellwether::window::PaneRecord;
use common::root;
use compatibility::{Writer, breaks};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[test]
fn every_schema_is_valid_and_accepts_its_examples() {
    for (topic, schema) in schemas() {
        assert!(jsonschema::meta::is_valid(&schema), "{topic}");
        let validator = jsonschema::validator_for(&schema).unwrap();
        let examples = schema["examples"].as_array().unwrap_or_else(|| panic!("{topic} has no examples"));
        for example in examples {
            assert!(validator.is_valid(example), "{topic}: {example}");
        }
        assert!(!validator.is_valid(&Value::from(7)), "{topic} accepts anything");
    }
}

// --- What a version has promised

#[test]
fn every_schema_keeps_what_its_version_has_promised() {
    for (topic, present) in schemas() {
        let version = version(&present);
        let path = root().join(format!("schemas/released/{topic}.v{version}.json"));
        assert!(
            path.is_file(),
            "schemas/{topic}.json has version {version}, of which there is no copy: make schemas/released/{topic}.v{version}.json"
        );
        let found = breaks(&read(&path), &present, writer(&topic));
        assert!(found.is_empty(), "schemas/{topic}.json breaks its version {version} (docs/contracts.md):\n{}", found.join("\n"));
    }
}

#[test]
fn every_released_schema_is_of_a_topic_that_there_is() {
    let topics: BTreeSet<String> = schemas().into_keys().collect();
    for (name, schema) in json_files("schemas/released") {
        let (topic, version_of_file) = name.rsplit_once(".v").unwrap_or_else(|| panic!("{name}: TOPIC.vVERSION.json"));
        assert!(topics.contains(topic), "{name}: there is no schemas/{topic}.json");
        assert_eq!(version(&schema).to_string(), version_of_file, "{name}");
    }
}

/// One schema for the cases below, and what may stand in it.
fn released() -> Value {
    json!({
        "type": "object",
        "properties": {
            "schema": { "const": 1 },
            "id": { "description": "Its name.", "type": "string", "minLength": 1, "maxLength": 9, "pattern": "^[a-z]+$" },
            "note": { "type": ["string", "null"] },
            "share": { "type": "number", "minimum": 0, "exclusiveMaximum": 1 },
            "kind": { "enum": ["surge", "level"], "x-open": true },
            "severity": { "enum": ["warning", "critical"] },
            "at": { "$ref": "#/$defs/time" },
            "when": { "anyOf": [{ "type": "string" }, { "type": "integer" }] },
            "words": { "type": "array", "maxItems": 3, "items": { "type": "object", "properties": { "word": { "type": "string" } }, "required": ["word"] } },
            "pair": { "type": "array", "prefixItems": [{ "type": "integer" }, { "type": "integer", "minimum": 0 }] },
            "counts": {
                "type": "object",
                "properties": { "all": { "type": "integer" } },
                "propertyNames": { "pattern": "^[a-z]" },
                "additionalProperties": { "type": "integer", "minimum": 1 }
            },
            "extra": { "type": "object" }
        },
        "required": ["schema", "id", "severity"],
        "additionalProperties": false,
        "$defs": { "time": { "type": "string", "pattern": "Z$" } }
    })
}

/// A place in it, and what stands there then; nothing, where it is taken out.
type Edit = (&'static str, Option<Value>);

fn changed(edits: &[Edit]) -> Value {
    let mut schema = released();
    for (place, value) in edits {
        let (parent, key) = place.rsplit_once('/').expect("a place");
        let parent = schema.pointer_mut(parent).unwrap_or_else(|| panic!("there is no {parent}"));
        match (parent, value) {
            (Value::Array(list), Some(value)) if key == "-" => list.push(value.clone()),
            (Value::Array(list), None) => drop(list.remove(key.parse().expect("an index"))),
            (Value::Object(object), Some(value)) => drop(object.insert(key.to_owned(), value.clone())),
            (Value::Object(object), None) => drop(object.remove(key).unwrap_or_else(|| panic!("there is no {place}"))),
            _ => panic!("{place} cannot be changed"),
        }
    }
    schema
}

fn set(place: &'static str, value: Value) -> Edit {
    (place, Some(value))
}

fn out(place: &'static str) -> Edit {
    (place, None)
}

/// A change, and the place that is told of where Bellwether writes the records, and where others do: nothing where it is allowed.
type Case = (&'static str, Vec<Edit>, Option<&'static str>, Option<&'static str>);

fn cases() -> Vec<Case> {
    let number = json!({ "type": "number" });
    vec![
        ("nothing", vec![], None, None),
        ("other words", vec![set("/properties/id/description", json!("Its name, for people."))], None, None),
        ("a new property that need not be there", vec![set("/properties/new", number.clone())], None, None),
        (
            "a new property in an item",
            vec![set("/properties/words/items/properties/weight", number.clone())],
            None,
            Some("/words/[]/weight"),
        ),
        (
            "a new property that must be there",
            vec![set("/properties/new", number), set("/required/-", json!("new"))],
            Some("new need"),
            Some("new need"),
        ),
        ("a property becomes required", vec![set("/required/-", json!("note"))], Some("note need"), Some("note need")),
        ("a property need not be there any more", vec![out("/required/2")], Some("severity need"), None),
        ("a property goes", vec![out("/properties/note")], Some("note is no longer"), Some("note is no longer")),
        (
            "a property gets another name",
            vec![out("/properties/note"), set("/properties/remark", json!({}))],
            Some("note is no longer"),
            Some("note is no longer"),
        ),
        ("a type more", vec![set("/properties/id/type", json!(["string", "null"]))], Some("/id"), None),
        ("a type less", vec![set("/properties/note/type", json!("string"))], Some("/note"), Some("/note")),
        ("whole numbers only", vec![set("/properties/share/type", json!("integer"))], Some("type number"), Some("type number")),
        ("any type", vec![out("/properties/note/type")], Some("/note"), None),
        ("a value more", vec![set("/properties/severity/enum/-", json!("fatal"))], Some("fatal"), None),
        ("a value less", vec![out("/properties/severity/enum/0")], Some("warning"), Some("warning")),
        ("a value more of an open list", vec![set("/properties/kind/enum/-", json!("trend"))], None, None),
        ("a value less of an open list", vec![out("/properties/kind/enum/0")], Some("surge"), Some("surge")),
        ("any value", vec![set("/properties/severity", json!({ "type": "string" }))], Some("/severity"), None),
        ("another version", vec![set("/properties/schema/const", json!(2))], Some("/schema"), Some("/schema")),
        ("a lower minimum", vec![set("/properties/share/minimum", json!(-1))], Some("/share"), None),
        ("a higher minimum", vec![set("/properties/share/minimum", json!(0.5))], Some("/share"), Some("/share")),
        ("no minimum", vec![out("/properties/share/minimum")], Some("/share"), None),
        (
            "the maximum itself, too",
            vec![out("/properties/share/exclusiveMaximum"), set("/properties/share/maximum", json!(1))],
            Some("/share"),
            None,
        ),
        ("a lower maximum", vec![set("/properties/share/exclusiveMaximum", json!(0.9))], Some("/share"), Some("/share")),
        ("a maximum where there was none", vec![set("/properties/counts/maxProperties", json!(9))], Some("/counts"), Some("/counts")),
        ("a longer text", vec![set("/properties/id/maxLength", json!(10))], Some("/id"), None),
        ("a shorter text", vec![set("/properties/id/maxLength", json!(8))], Some("/id"), Some("/id")),
        ("an empty text", vec![out("/properties/id/minLength")], Some("/id"), None),
        ("a longer list", vec![set("/properties/words/maxItems", json!(4))], Some("/words"), None),
        ("a shorter list", vec![set("/properties/words/maxItems", json!(2))], Some("/words"), Some("/words")),
        ("a list that is never empty", vec![set("/properties/words/minItems", json!(1))], Some("/words"), Some("/words")),
        ("another pattern", vec![set("/properties/id/pattern", json!("^[a-z0-9]+$"))], Some("pattern"), Some("pattern")),
        ("a pattern where there was none", vec![set("/properties/note/pattern", json!("."))], Some("pattern"), Some("pattern")),
        ("no pattern", vec![out("/properties/id/pattern")], Some("pattern"), None),
        (
            "a keyword that nobody here knows",
            vec![set("/properties/id/contentEncoding", json!("base64"))],
            Some("contentEncoding"),
            Some("contentEncoding"),
        ),
        ("another definition behind a reference", vec![set("/$defs/time/pattern", json!("^2"))], Some("/at"), Some("/at")),
        ("a branch more", vec![set("/properties/when/anyOf/-", json!({ "type": "null" }))], Some("/when"), None),
        ("a branch less", vec![out("/properties/when/anyOf/1")], Some("/when"), Some("/when")),
        ("a branch that takes less", vec![set("/properties/when/anyOf/0/minLength", json!(1))], Some("/when"), Some("/when")),
        (
            "branches in another order",
            vec![set("/properties/when/anyOf", json!([{ "type": "integer" }, { "type": "string" }]))],
            None,
            None,
        ),
        ("a property of an item need not be there any more", vec![out("/properties/words/items/required")], Some("word need"), None),
        (
            "an item of another type",
            vec![set("/properties/words/items/properties/word/type", json!("integer"))],
            Some("/words/[]/word"),
            Some("/words/[]/word"),
        ),
        (
            "a place more in a tuple",
            vec![set("/properties/pair/prefixItems/-", json!({ "type": "string" }))],
            Some("/pair/2"),
            Some("/pair/2"),
        ),
        ("a place of a tuple takes more", vec![out("/properties/pair/prefixItems/1/minimum")], Some("/pair/1"), None),
        ("other values of a map", vec![set("/properties/counts/additionalProperties/minimum", json!(0))], Some("/counts/*"), None),
        ("other keys of a map", vec![set("/properties/counts/propertyNames/pattern", json!("^[a-y]"))], Some("(names)"), Some("(names)")),
        (
            "fewer values of a map",
            vec![set("/properties/counts/additionalProperties/minimum", json!(2))],
            Some("/counts/*"),
            Some("/counts/*"),
        ),
        (
            "no other keys in a map",
            vec![set("/properties/counts/additionalProperties", json!(false))],
            Some("/counts/*"),
            Some("/counts/*"),
        ),
        (
            "a rule for what was free",
            vec![set("/properties/extra/additionalProperties", json!({ "type": "string" }))],
            Some("/extra/*"),
            Some("/extra/*"),
        ),
        (
            "a property for what was free",
            vec![set("/properties/extra/properties", json!({ "desk": { "type": "string" } }))],
            Some("/extra/desk"),
            Some("/extra/desk"),
        ),
        ("further properties of one type", vec![set("/additionalProperties", json!({ "type": "integer" }))], None, None),
        (
            "a bound for a type that is new",
            vec![set("/properties/note", json!({ "type": ["string", "null", "number"], "minimum": 0 }))],
            Some("/note"),
            None,
        ),
        ("further properties are let through", vec![out("/additionalProperties")], None, None),
        ("nothing at all", vec![set("/properties/note", json!(false))], Some("/note"), Some("/note")),
    ]
}

#[test]
fn each_breaking_change_is_found_and_no_other() {
    for (change, edits, of_bellwether, of_others) in cases() {
        let present = changed(&edits);
        assert!(jsonschema::meta::is_valid(&present), "{change}: the case is no schema");
        for (writer, expected) in [(Writer::Bellwether, of_bellwether), (Writer::Others, of_others)] {
            let found = breaks(&released(), &present, writer);
            match expected {
                None => assert!(found.is_empty(), "{change}, {writer:?}: {found:#?}"),
                Some(place) => {
                    assert!(found.iter().any(|one| one.contains(place)), "{change}, {writer:?}: {place} is not among {found:#?}")
                }
            }
        }
    }
}

#[test]
fn what_others_may_send_under_any_name_stays_free() {
    let open = changed(&[out("/additionalProperties")]);
    let mut named = open.clone();
    named["properties"]["desk"] = json!({ "description": "Anything." });
    assert!(breaks(&open, &named, Writer::Others).is_empty());
    named["properties"]["desk"]["type"] = json!("string");
    assert_eq!(breaks(&open, &named, Writer::Others).len(), 6, "one for each other type");
    assert!(breaks(&open, &named, Writer::Bellwether).is_empty(), "Bellwether has never written it");
    let closed = breaks(&open, &released(), Writer::Others);
    assert!(closed[0].contains("/*: nothing is let through"), "{closed:?}");
}

// --- Records

/// Records of every version are read now, and lose nothing by it.
#[test]
fn records_of_every_version_are_read() {
    for (name, schema) in json_files("schemas/released") {
        let topic = name.rsplit_once(".v").expect("TOPIC.vVERSION").0;
        let lines = std::fs::read_to_string(root().join(format!("tests/fixtures/records/{name}.jsonl")));
        let lines = lines.unwrap_or_else(|error| panic!("tests/fixtures/records/{name}.jsonl: {error}"));
        let records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for record in records.iter().chain(schema["examples"].as_array().unwrap()) {
            assert!(validator.is_valid(record), "{name}: {record} does not fit its schema");
            let kept = match topic {
                "news.raw" => decoded(record),
                "news.scored" => through::<Scored>(record),
                "news.observations" => through::<Observation>(record),
                "news.feeds" => through::<Memory>(record),
                "sentiment.actions" => through::<actions::Record>(record),
                "sentiment.windows" => through::<PaneRecord>(record),
                "sentiment.alerts" => through::<AlertRecord>(record),
                other => panic!("what reads {other}? Name its type here"),
            };
            assert_eq!(kept, *record, "{name}");
        }
    }
}

/// What a type reads of a record, written again.
fn through<T: DeserializeOwned + Serialize>(record: &Value) -> Value {
    // As text: some types borrow from what they read.
    let read: T = serde_json::from_str(&record.to_string()).unwrap_or_else(|error| panic!("{record}: {error}"));
    serde_json::to_value(read).unwrap()
}

/// What the classifier reads of a record of `news.raw`, in the form in which it came.
fn decoded(record: &Value) -> Value {
    let event_time = |value: &Value| value.as_i64().map(EventTime).or_else(|| EventTime::parse(value.as_str()?));
    let published_at = event_time(&record["published_at"]).expect("every record here has its time");
    let item = decode(record.to_string().as_bytes(), published_at, &Config::default().decode);
    let item = item.unwrap_or_else(|rejection| panic!("{record}: {rejection:?}"));
    assert_eq!(item.published_at, published_at);
    let mut read = item.extra.clone();
    read.insert("published_at".to_owned(), record["published_at"].clone());
    // What is null in a record counts as not there; an id is made then.
    let (id, made) = (json!(item.id), record["id"].is_null());
    for (name, value) in [
        ("id", if made { Value::Null } else { id }),
        ("title", json!(item.title)),
        ("body", json!(item.body)),
        ("source", json!(item.source)),
        ("url", json!(item.url)),
        ("symbols", if item.symbols.is_empty() { Value::Null } else { json!(item.symbols) }),
        ("lang", json!(item.lang)),
    ] {
        if record.get(name).is_some() {
            let is_number = record[name].is_number();
            read.insert(name.to_owned(), if is_number { serde_json::from_str(value.as_str().unwrap()).unwrap() } else { value });
        }
    }
    read.into()
}

// --- docs/asyncapi.yaml

#[test]
fn the_asyncapi_document_has_every_topic_and_every_schema() {
    let document: Value = serde_norway::from_str(&std::fs::read_to_string(root().join("docs/asyncapi.yaml")).unwrap()).unwrap();
    let channels: Vec<&Value> = document["channels"].as_object().unwrap().values().collect();
    let policy = |channel: &Value| {
        let words = channel["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"].as_array().unwrap();
        words.iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(",")
    };
    let described: BTreeMap<&str, String> =
        channels.iter().map(|channel| (channel["address"].as_str().unwrap(), policy(channel))).collect();
    let made = plan(&Config::default());
    let made: BTreeMap<&str, String> = made.iter().map(|topic| (topic.name.as_str(), topic.settings[0].1.clone())).collect();
    assert_eq!(described, made);

    let mut schemas_named = BTreeSet::new();
    for message in document["components"]["messages"].as_object().unwrap().values() {
        let Some(file) = message["payload"]["$ref"].as_str() else { continue };
        let topic = file.strip_prefix("../schemas/").and_then(|file| file.strip_suffix(".json")).expect("a file of schemas/");
        schemas_named.insert(topic.to_owned());
    }
    assert!(schemas_named.iter().eq(schemas().keys()), "{schemas_named:?}");

    // Each channel has its messages and its operations, and what is referred to is there.
    let mut used = BTreeSet::new();
    for operation in document["operations"].as_object().unwrap().values() {
        used.insert(pointed_at(&document, &operation["channel"])["address"].as_str().unwrap());
    }
    assert!(used.iter().eq(described.keys()), "{used:?}");
    for channel in channels {
        for message in channel["messages"].as_object().unwrap().values() {
            assert!(pointed_at(&document, message)["name"] == channel["address"], "{channel}");
        }
    }
}

fn pointed_at<'a>(document: &'a Value, reference: &Value) -> &'a Value {
    let pointer = reference["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')).expect("a reference within the document");
    document.pointer(pointer).unwrap_or_else(|| panic!("there is no {pointer}"))
}

// --- Files

/// Every present schema, by topic.
fn schemas() -> BTreeMap<String, Value> {
    json_files("schemas")
}

fn json_files(folder: &str) -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), read(&path))).collect()
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The number that its records have in `schema`. Records of `news.raw` have none: whoever writes them knows of no versions.
fn version(schema: &Value) -> u64 {
    let shapes =
        schema["oneOf"].as_array().map_or_else(|| vec![schema], |shapes| shapes.iter().map(|shape| pointed_at(schema, shape)).collect());
    let versions: BTreeSet<u64> =
        shapes.iter().map(|shape| shape.pointer("/properties/schema/const").map_or(1, |version| version.as_u64().unwrap())).collect();
    assert_eq!(versions.len(), 1, "{}: one version", schema["title"]);
    versions.into_iter().next().unwrap()
}

fn writer(topic: &str) -> Writer {
    if topic == "news.raw" { Writer::Others } else { Writer::Bellwether }
}
