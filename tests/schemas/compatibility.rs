//! What changes a schema within its version breaks.
//!
//! Everything rests on one question, asked keyword by keyword: is what one schema lets through let through by the other, too? Where it
//! cannot be answered, as for a pattern that is another one now, the answer is no.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Map, Value};

/// Who writes the records of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// Others do: what they may send must be taken for as long as the version is. What is taken may grow.
    Others,
    /// Bellwether does, and it reads its own records back. Readers must understand new records, and new programs old ones: only properties
    /// that need not be there may come.
    Bellwether,
}

/// Every way in which the present schema breaks what the released one has promised.
pub fn breaks(released: &Value, present: &Value, writer: Writer) -> Vec<String> {
    let strangers = writer == Writer::Others;
    let mut found = Comparison { from: released, to: present, direction: Direction::Old { strangers }, found: Vec::new() }.run();
    if writer == Writer::Bellwether {
        found.extend(Comparison { from: present, to: released, direction: Direction::New, found: Vec::new() }.run());
    }
    found
}

/// Whose records are asked about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// Old records, and the present schema. `strangers`: where the released schema lets them, there are properties that it does not name.
    Old { strangers: bool },
    /// New records, and the released schema. Readers pass over properties that they do not know.
    New,
}

/// Whether what `from` lets through is let through by `to`.
struct Comparison<'a> {
    from: &'a Value,
    to: &'a Value,
    direction: Direction,
    found: Vec<String>,
}

/// They say nothing about what is let through.
const NOTES: [&str; 9] = ["$schema", "$id", "$defs", "$comment", "title", "description", "examples", "default", OPEN];
/// Beside an `enum`: values may come, and readers must live with one that they do not know.
const OPEN: &str = "x-open";
const COMPARED: [&str; 21] = [
    "type",
    "enum",
    "const",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "properties",
    "additionalProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "anyOf",
    "oneOf",
];
const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
const ANYTHING: Value = Value::Bool(true);
const NOTHING: Value = Value::Bool(false);

impl Comparison<'_> {
    fn run(mut self) -> Vec<String> {
        self.compare("", self.from, self.to);
        self.found
    }

    fn report(&mut self, place: &str, what: impl std::fmt::Display) {
        let records = match self.direction {
            Direction::Old { .. } => "old records, present schema",
            Direction::New => "new records, released schema",
        };
        self.found.push(format!("{records}: {}: {what}", if place.is_empty() { "/" } else { place }));
    }

    fn compare(&mut self, place: &str, from: &Value, to: &Value) {
        if *from == NOTHING || *to == ANYTHING {
            return;
        }
        if *to == NOTHING {
            return self.report(place, "nothing is let through any more");
        }
        let (from, to) = (resolved(self.from, from), resolved(self.to, to));
        self.compare_values(place, &from, &to);
        self.compare_bounds(place, &from, &to);
        if types(&from).contains("object") {
            self.compare_properties(place, &from, &to);
        }
        if types(&from).contains("array") {
            self.compare_items(place, &from, &to);
        }
        self.compare_branches(place, &from, &to);
        for (keyword, value) in to.iter().filter(|(keyword, _)| !NOTES.contains(&keyword.as_str()) && !COMPARED.contains(&keyword.as_str()))
        {
            if from.get(keyword) != Some(value) {
                self.report(place, format!("{keyword} is {value}, and was {}", from.get(keyword).unwrap_or(&Value::Null)));
            }
        }
    }

    fn compare_values(&mut self, place: &str, from: &Map<String, Value>, to: &Map<String, Value>) {
        let (old, new) = (types(from), types(to));
        for lost in old.difference(&new) {
            self.report(place, format!("a value may be of type {lost}"));
        }
        let may_grow = self.direction == Direction::New && to.get(OPEN) == Some(&Value::Bool(true));
        if let (Some(to), false) = (values(to), may_grow) {
            match values(from) {
                Some(from) => {
                    for lost in from.iter().filter(|value| !to.contains(value)) {
                        self.report(place, format!("a value may be {lost}"));
                    }
                }
                None => self.report(place, format!("values are not only {}", Value::from(to))),
            }
        }
    }

    fn compare_bounds(&mut self, place: &str, from: &Map<String, Value>, to: &Map<String, Value>) {
        let types = types(from);
        for (of_type, keywords, upper) in [
            ("integer", ["minimum", "exclusiveMinimum"], false),
            ("integer", ["maximum", "exclusiveMaximum"], true),
            ("string", ["minLength", ""], false),
            ("string", ["maxLength", ""], true),
            ("array", ["minItems", ""], false),
            ("array", ["maxItems", ""], true),
            ("object", ["minProperties", ""], false),
            ("object", ["maxProperties", ""], true),
        ] {
            if !types.contains(of_type) {
                continue;
            }
            // The tightest of both; of the same number the one that leaves it out.
            let bound = |schema: &Map<String, Value>| {
                let number = |keyword: &str| schema.get(keyword).and_then(Value::as_f64).map(|number| if upper { -number } else { number });
                let bounds = [number(keywords[0]).map(|number| (number, false)), number(keywords[1]).map(|number| (number, true))];
                bounds.into_iter().flatten().max_by(|a, b| a.partial_cmp(b).expect("JSON has no NaN"))
            };
            if let Some(needed) = bound(to)
                && bound(from).is_none_or(|given| given < needed)
            {
                let said = |schema: &Map<String, Value>| {
                    Value::from_iter(keywords.iter().filter_map(|key| Some((*key, schema.get(*key)?.clone()))))
                };
                self.report(place, format!("{} does not keep to {}", said(from), said(to)));
            }
        }
    }

    fn compare_properties(&mut self, place: &str, from: &Map<String, Value>, to: &Map<String, Value>) {
        for name in names(to).difference(&names(from)) {
            self.report(place, format!("{name} need not be there"));
        }
        let (described, expected) = (properties(from), properties(to));
        let (rest, wanted_rest) = (rest_of(from), rest_of(to));
        let rest_matters = match self.direction {
            // An object of which nothing is described may hold anything, whoever writes it.
            Direction::Old { strangers } => strangers || described.is_empty() || rest.is_object(),
            Direction::New => *wanted_rest != NOTHING,
        };
        for (name, wanted) in expected {
            let absent = if rest_matters || self.direction == Direction::New { rest } else { &NOTHING };
            let given = described.get(name).unwrap_or(absent);
            self.compare(&format!("{place}/{name}"), given, wanted);
        }
        for (name, given) in described.iter().filter(|(name, _)| !expected.contains_key(*name)) {
            match self.direction {
                Direction::Old { .. } if !wanted_rest.is_object() => self.report(place, format!("{name} is no longer described")),
                Direction::New if !wanted_rest.is_object() => {}
                _ => self.compare(&format!("{place}/{name}"), given, wanted_rest),
            }
        }
        if rest_matters {
            self.compare(&format!("{place}/*"), rest, wanted_rest);
        }
        if let Some(wanted) = to.get("propertyNames") {
            self.compare(&format!("{place}/(names)"), from.get("propertyNames").unwrap_or(&ANYTHING), wanted);
        }
    }

    fn compare_items(&mut self, place: &str, from: &Map<String, Value>, to: &Map<String, Value>) {
        let first = |schema: &Map<String, Value>| list(schema, "prefixItems");
        let rest = |schema: &Map<String, Value>| schema.get("items").cloned().unwrap_or(ANYTHING);
        let (given, wanted) = (first(from), first(to));
        for index in 0..given.len().max(wanted.len()) {
            let item = |list: &[Value], schema| list.get(index).cloned().unwrap_or_else(|| rest(schema));
            self.compare(&format!("{place}/{index}"), &item(&given, from), &item(&wanted, to));
        }
        self.compare(&format!("{place}/[]"), &rest(from), &rest(to));
    }

    /// Each branch must be within one of the other side's. Those of `oneOf` are taken to exclude each other.
    fn compare_branches(&mut self, place: &str, from: &Map<String, Value>, to: &Map<String, Value>) {
        for keyword in ["anyOf", "oneOf"] {
            let wanted = list(to, keyword);
            if wanted.is_empty() {
                continue;
            }
            let given = list(from, keyword);
            let given = if given.is_empty() { vec![Value::Object(from.clone())] } else { given };
            for (index, branch) in given.iter().enumerate() {
                let attempts: Vec<Vec<String>> =
                    wanted.iter().map(|wanted| self.apart(&format!("{place}/{keyword} {index}"), branch, wanted)).collect();
                // What is told is said of the branch that lacks least.
                self.found.extend(attempts.into_iter().min_by_key(Vec::len).unwrap_or_default());
            }
        }
    }

    fn apart(&self, place: &str, from: &Value, to: &Value) -> Vec<String> {
        let mut alone = Comparison { found: Vec::new(), ..*self };
        alone.compare(place, from, to);
        alone.found
    }
}

/// A schema with what it refers to.
fn resolved(root: &Value, schema: &Value) -> Map<String, Value> {
    let Some(schema) = schema.as_object() else { return Map::new() };
    let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { return schema.clone() };
    let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)).unwrap_or_else(|| panic!("{reference} is nowhere"));
    let mut whole = resolved(root, target);
    whole.extend(schema.iter().filter(|(keyword, _)| *keyword != "$ref").map(|(keyword, value)| (keyword.clone(), value.clone())));
    whole
}

/// The types that values may have; a number may be an integer.
fn types(schema: &Map<String, Value>) -> BTreeSet<&str> {
    let of_value = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let mut types: BTreeSet<&str> = match schema.get("type") {
        Some(Value::String(one)) => [one.as_str()].into(),
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => values(schema).map_or_else(|| TYPES.into(), |values| values.iter().map(of_value).collect()),
    };
    if types.contains("number") {
        types.insert("integer");
    }
    types
}

/// The only values that there may be.
fn values(schema: &Map<String, Value>) -> Option<Vec<Value>> {
    schema.get("const").map(|only| vec![only.clone()]).or_else(|| schema.get("enum")?.as_array().cloned())
}

fn list(schema: &Map<String, Value>, keyword: &str) -> Vec<Value> {
    schema.get(keyword).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn names(schema: &Map<String, Value>) -> BTreeSet<String> {
    list(schema, "required").iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn properties(schema: &Map<String, Value>) -> &Map<String, Value> {
    static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    schema.get("properties").and_then(Value::as_object).unwrap_or(&NONE)
}

/// What properties must be that are not named.
fn rest_of(schema: &Map<String, Value>) -> &Value {
    schema.get("additionalProperties").unwrap_or(&ANYTHING)
}
