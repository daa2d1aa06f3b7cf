//! The stored form of a checkpoint: JSON, the same in every store.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};

use super::Checkpoint;
use crate::{
    config::ClusterTime,
    namespace::Namespace,
    position::{Gap, Position, ResumeToken},
    raw::Document,
    retry::Failure,
    source::snapshot::{From, Id, Part, Plan, Waiting},
};

/// The version of the stored form that this program writes, and the only one that it reads.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    version: u32,
    owner: String,
    epoch: u64,
    deployment: Option<String>,
    generation: u64,
    /// Seconds and increment.
    cluster_time: (u32, u32),
    /// BSON of the resume token in base64.
    token: Option<String>,
    #[serde(default)]
    steps: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<StoredPlan>,
    /// Cluster times after and before which changes were lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gap: Option<[(u32, u32); 2]>,
}

/// What a snapshot has left to copy.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredPlan {
    /// Namespaces with about how many documents they have.
    waiting: Vec<(String, u64)>,
    parts: Vec<StoredPart>,
    /// Namespaces whose topics are to be compared with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sweeps: Vec<String>,
}

/// A part of a collection; its borders are documents `{_id: …}` as BSON in base64.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredPart {
    namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    estimate: u64,
}

impl StoredPlan {
    fn of(plan: &Plan) -> Self {
        let base64 = |id: &Id| BASE64.encode(id.as_bytes());
        let part = |part: &Part| {
            let (at, after) = match &part.from {
                From::Start => (None, None),
                From::At(id) => (Some(base64(id)), None),
                From::After(id) => (None, Some(base64(id))),
            };
            let namespace = part.namespace.to_string();
            StoredPart {
                namespace,
                at,
                after,
                until: part.until.as_ref().map(base64),
                estimate: part.estimate,
            }
        };
        Self {
            waiting: plan.waiting().map(|w| (w.namespace.to_string(), w.estimate)).collect(),
            parts: plan.parts().iter().map(part).collect(),
            sweeps: plan.sweeps().map(ToString::to_string).collect(),
        }
    }

    fn plan(self) -> Result<Plan, String> {
        let namespace = |text: &str| {
            Namespace::of_written(text).map(Arc::new).ok_or_else(|| format!("{text:?} is no namespace"))
        };
        let id = |text: String| {
            let bytes = BASE64.decode(text).map_err(|error| error.to_string())?;
            Id::from_bytes(bytes).map_err(|error| error.to_string())
        };
        let mut waiting = Vec::new();
        for (text, estimate) in self.waiting {
            waiting.push(Waiting { namespace: namespace(&text)?, estimate });
        }
        let mut parts = Vec::new();
        for (number, part) in (0..).zip(self.parts) {
            let from = match (part.at, part.after) {
                (Some(at), _) => From::At(id(at)?),
                (None, Some(after)) => From::After(id(after)?),
                (None, None) => From::Start,
            };
            let until = part.until.map(id).transpose()?;
            let namespace = namespace(&part.namespace)?;
            parts.push(Part { id: number, namespace, from, until, estimate: part.estimate });
        }
        let sweeps = self.sweeps.iter().map(|text| namespace(text)).collect::<Result<Vec<_>, _>>()?;
        Ok(Plan::restore(waiting, parts, sweeps))
    }
}

impl Checkpoint {
    /// The stored form.
    pub fn to_json(&self) -> String {
        let Position { generation, time, token, steps, snapshot, gap } = &self.position;
        let pair = |time: &ClusterTime| (time.seconds, time.increment);
        let stored = Stored {
            version: VERSION,
            owner: self.owner.clone(),
            epoch: self.epoch,
            deployment: self.deployment.clone(),
            generation: *generation,
            cluster_time: pair(time),
            token: token.as_ref().map(|token| BASE64.encode(token.as_bytes())),
            steps: *steps,
            snapshot: snapshot.as_deref().map(StoredPlan::of),
            gap: gap.as_ref().map(|gap| [pair(&gap.after), pair(&gap.until)]),
        };
        serde_json::to_string(&stored).expect("plain data always serialises")
    }

    /// Reads the stored form; `place` names it in errors.
    ///
    /// # Errors
    /// When it is not a checkpoint of this version.
    pub fn from_json(place: &str, text: &[u8]) -> Result<Self, Failure> {
        let damaged = |reason: String| {
            Failure::stop(format!(
                "the checkpoint in {place} cannot be read ({reason}); nothing was changed. Restore it, or remove it to \
                 start without one"
            ))
        };
        let stored: Stored = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
        if stored.version != VERSION {
            return Err(damaged(format!("version {}, this program reads version {VERSION}", stored.version)));
        }
        let token = stored
            .token
            .map(|token| {
                let bytes = BASE64.decode(token).map_err(|error| damaged(error.to_string()))?;
                let document = Document::new(&bytes).map_err(|error| damaged(error.to_string()))?;
                ResumeToken::new(document).map_err(|error| damaged(error.to_string()))
            })
            .transpose()?;
        let snapshot = stored.snapshot.map(|plan| plan.plan().map(Arc::new).map_err(damaged)).transpose()?;
        let time = |(seconds, increment)| ClusterTime { seconds, increment };
        let gap = stored.gap.map(|[after, until]| Gap { after: time(after), until: time(until) });
        let Stored { generation, steps, cluster_time, .. } = stored;
        Ok(Self {
            position: Position { generation, time: time(cluster_time), token, steps, snapshot, gap },
            deployment: stored.deployment,
            owner: stored.owner,
            epoch: stored.epoch,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let start = Position::at_time(3, ClusterTime { seconds: 7, increment: 2 });
        let token = crate::position::tests::token("826B039A370000001F2B02");
        Checkpoint {
            position: start.after(token),
            deployment: Some("ab".into()),
            owner: "me".into(),
            epoch: 4,
        }
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let with_token = checkpoint();
        let mut without = with_token.clone();
        without.position.token = None;
        without.deployment = None;
        let mut copying = with_token.clone();
        let id = |value: i32| {
            let bytes = bson::rawdoc! { "_id": value }.into_bytes();
            Id::from_bytes(bytes).expect("has an _id")
        };
        let waiting = |text: &str| Waiting {
            namespace: Arc::new(Namespace::parse(text).expect("the name is sound")),
            estimate: 9,
        };
        let mut plan = Plan::new([waiting("a.b"), waiting("a.c.d")]);
        plan.begin(vec![id(1), id(2)]);
        plan.finish(&crate::source::snapshot::Step { part: 1, after: Some(id(1)), documents: 1 });
        copying.position = copying.position.with_snapshot(&plan);
        let mut skipped = with_token.clone();
        skipped.position = skipped.position.skip_to(ClusterTime { seconds: 0x7000_0000, increment: 1 });
        for checkpoint in [with_token, without, copying, skipped] {
            let read = Checkpoint::from_json("x", checkpoint.to_json().as_bytes()).expect("reads");
            assert_eq!(read, checkpoint);
        }
    }

    #[test]
    fn what_is_no_checkpoint_stops_the_source() {
        let future = checkpoint().to_json().replace("\"version\":1", "\"version\":2");
        for text in
            ["", "{}", "[]", &future, &checkpoint().to_json().replace("\"token\":\"", "\"token\":\"A")]
        {
            let failure = Checkpoint::from_json("topic t", text.as_bytes()).expect_err("refused");
            assert_eq!(failure.verdict, crate::retry::Verdict::Stop);
            assert!(failure.message.contains("topic t"), "{failure}");
        }
    }
}
