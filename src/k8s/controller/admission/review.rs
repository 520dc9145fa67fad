//! AdmissionReviews: what the apiserver asks, and our answer, which always lets the pod in.
//!
//! Called by [`super::serve`] with each request's body.

use super::facts::Facts;
use super::mutate::{Change, Sent, mutate};
use goosefs_core::metrics::{Counter, Family, Metrics};
use goosefs_core::{Code, Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The apiserver waits for 5 seconds; what we ask of it meanwhile must not take so long.
const PATIENCE: Duration = Duration::from_secs(3);

/// Answers reviews.
pub(super) struct Reviewer {
    facts: Facts,
    admissions: Family<[(&'static str, &'static str); 1], Counter>,
}

#[derive(Deserialize)]
struct Review {
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    uid: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    object: Value,
}

/// What is answered.
#[derive(Debug)]
enum Outcome {
    /// The pod did not ask for it.
    Skipped,
    Changed(Change),
    Failed(Error),
}

impl Reviewer {
    pub(super) fn new(facts: Facts, metrics: &Metrics) -> Reviewer {
        let admissions = metrics.register(
            "goosefs_controller_admissions",
            "Pods that the apiserver has asked about, by what became of them",
            Family::default(),
        );
        Reviewer { facts, admissions }
    }

    /// The answer to a body.
    ///
    /// # Errors
    /// `InvalidArgument` when it is no AdmissionReview.
    pub(super) async fn answer(&self, body: &[u8]) -> Result<Value> {
        let review: Review = serde_json::from_slice(body)
            .map_err(|error| Error::new(Code::InvalidArgument, format!("no AdmissionReview: {error}")))?;
        let Request { uid, namespace, object } = review.request;
        let decided = self.decide(&namespace, object);
        let outcome = match tokio::time::timeout(PATIENCE, decided).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Failed(Error::new(Code::DeadlineExceeded, "the apiserver did not answer")),
        };
        let (counted, answer) = told(&uid, outcome);
        self.admissions.get_or_create(&[("outcome", counted)]).inc();
        Ok(answer)
    }

    async fn decide(&self, namespace: &str, object: Value) -> Result<Outcome> {
        let sent = Sent::new(object)?;
        if !sent.is_wanted() {
            return Ok(Outcome::Skipped);
        }
        let used = self.facts.used(namespace, &sent.pod).await?;
        Ok(Outcome::Changed(mutate(&sent, &used)))
    }
}

/// How an outcome is counted, and the answer.
fn told(uid: &str, outcome: Outcome) -> (&'static str, Value) {
    let mut response = json!({"uid": uid, "allowed": true});
    let counted = match outcome {
        Outcome::Skipped => "skipped",
        Outcome::Changed(Change { patch, warnings }) => {
            if !warnings.is_empty() {
                response["warnings"] = json!(warnings);
            }
            if patch.0.is_empty() {
                "unchanged"
            } else {
                response["patchType"] = json!("JSONPatch");
                response["patch"] = json!(k8s_openapi::ByteString(json!(patch).to_string().into_bytes()));
                "changed"
            }
        }
        Outcome::Failed(error) => {
            tracing::warn!(%error, "a pod was let in as it is");
            response["warnings"] = json!([format!("GooseFS left the pod as it is: {error}")]);
            "failed"
        }
    };
    let review =
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    (counted, review)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_lets_the_pod_in() {
        let sent = Sent::new(json!({"metadata": {}, "spec": {"containers": []}})).unwrap();
        let unchanged = Change { patch: json_patch::Patch(Vec::new()), warnings: vec!["look".to_owned()] };
        let failed = Error::new(Code::Unavailable, "away");
        for (outcome, counted, has_patch, warnings) in [
            (Outcome::Skipped, "skipped", false, Value::Null),
            (Outcome::Changed(unchanged), "unchanged", false, json!(["look"])),
            (Outcome::Changed(mutate(&sent, &[])), "changed", true, Value::Null),
            (Outcome::Failed(failed), "failed", false, json!(["GooseFS left the pod as it is: away"])),
        ] {
            let (seen, review) = told("u-1", outcome);
            let response = &review["response"];
            assert_eq!(seen, counted);
            assert_eq!((&response["uid"], &response["allowed"]), (&json!("u-1"), &json!(true)));
            assert_eq!(response["patch"].is_string(), has_patch);
            assert_eq!(response["patchType"].is_string(), has_patch);
            assert_eq!(response["warnings"], warnings, "{counted}");
        }
    }
}
