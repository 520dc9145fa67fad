//! The CustomResourceDefinitions, made from the types.

use super::{DataBackup, DataLoad, Dataset, GooseFSRuntime};
use goosefs_core::{Code, Error, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

/// The longest description that is kept of types that are not ours: their first sentence says enough.
const DESCRIPTION: usize = 200;

/// The longest quantity.
const LONGEST_QUANTITY: u32 = 32;

/// All definitions, as they are applied.
///
/// # Errors
/// `Internal` when a type is no structural schema, which a test sees first.
pub fn definitions() -> Result<Vec<CustomResourceDefinition>> {
    [Dataset::crd(), GooseFSRuntime::crd(), DataLoad::crd(), DataBackup::crd()]
        .into_iter()
        .map(tidy)
        .collect()
}

/// `data.fluid.io_datasets.yaml`: the file of a definition in the chart.
#[must_use]
pub fn file_name(definition: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", definition.spec.group, definition.spec.names.plural)
}

/// A definition as YAML.
///
/// # Errors
/// `Internal` when it cannot be written.
pub fn yaml(definition: &CustomResourceDefinition) -> Result<String> {
    serde_saphyr::to_string(definition)
        .map_err(|error| Error::new(Code::Internal, format!("write a definition as YAML: {error}")))
}

/// Takes out what serde says of Rust and Kubernetes would take for a promise: null where a field may be left out, defaults
/// that are nothing. Nulls that users write are dropped by the apiserver then.
fn tidy(definition: CustomResourceDefinition) -> Result<CustomResourceDefinition> {
    let broken = |error: serde_json::Error| Error::new(Code::Internal, format!("make a definition: {error}"));
    let mut value = serde_json::to_value(definition).map_err(broken)?;
    if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                tidy_schema(schema);
            }
        }
    }
    serde_json::from_value(value).map_err(broken)
}

fn tidy_schema(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.remove("nullable");
    if fields.get("default").is_some_and(is_nothing) {
        fields.remove("default");
    }
    // Formats of Rust's integers; the apiserver knows int32 and int64.
    if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        fields.remove("format");
    }
    // Rules about text of any length cost more than the apiserver allows.
    if fields.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        fields.insert("maxLength".to_owned(), LONGEST_QUANTITY.into());
    }
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = first_sentence(text);
    }
    for key in ["properties", "additionalProperties", "items"] {
        match fields.get_mut(key) {
            Some(Value::Object(children)) if key == "properties" => {
                children.values_mut().for_each(tidy_schema)
            }
            Some(child) => tidy_schema(child),
            None => {}
        }
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
    }
}

fn first_sentence(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    if paragraph.len() <= DESCRIPTION {
        return paragraph;
    }
    match paragraph.find(". ") {
        Some(end) => paragraph[..=end].to_owned(),
        None => paragraph,
    }
}
