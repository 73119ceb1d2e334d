//! What happens to the keys, and when.

use serde_json::{Value, json};

/// The kinds of rotation that can be shown alone.
pub(crate) const SCENARIOS: &[&str] = &[
    "overlap",
    "cut",
    "revoke",
    "propagation",
    "outage",
    "rollback",
    "storm",
    "emergency",
    "push-lost",
];

/// Whether the endpoint of this scenario pushes: without it, the others show what polls and rejections do.
pub(crate) fn pushes(scenario: &str) -> bool {
    matches!(scenario, "emergency" | "push-lost")
}

/// Each kind at least once, and eleven rotations in all.
const ALL: &[&str] = &[
    "overlap",
    "cut",
    "revoke",
    "propagation",
    "overlap",
    "outage",
    "rollback",
    "cut",
    "overlap",
    "revoke",
];

/// One thing that is done to the endpoint or the API.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) at_ms: u64,
    pub(crate) label: &'static str,
    pub(crate) step: Value,
    /// How long it lasts, if it is a fault.
    pub(crate) fault_ms: Option<u64>,
    /// Whether all workers send at once right after it.
    pub(crate) storm: bool,
}

/// The script of a scenario that lasts so many seconds.
pub(crate) fn script(scenario: &str, seconds: u64) -> Vec<Act> {
    let alone = [scenario];
    let total = seconds * 1000;
    let (kinds, count) = match scenario {
        "all" => (ALL, ALL.len() as u64),
        _ => (&alone[..], (seconds / 2).max(2)),
    };
    // A quiet start, and a quiet end in which the last rotation is adopted.
    let (begin, end) = (500, total.saturating_sub(1_000));
    let slot = (end - begin) / count;
    (0..count).flat_map(|n| act(kinds[n as usize % kinds.len()], begin + n * slot, slot)).collect()
}

fn act(kind: &str, at_ms: u64, slot: u64) -> Vec<Act> {
    let does = |label, at_ms, step| Act { at_ms, label, step, fault_ms: None, storm: false };
    match kind {
        "cut" => vec![does("cut", at_ms, json!({"do": "cut"}))],
        "storm" => {
            vec![Act { storm: true, ..does("cut", at_ms, json!({"do": "cut"})) }]
        }
        "revoke" | "emergency" => vec![does("revoked", at_ms, json!({"do": "revoke"}))],
        "push-lost" => {
            let lost = slot / 2;
            let silent = json!({"do": "endpoint", "fault": "events_dropped", "for_ms": lost});
            vec![
                Act { fault_ms: Some(lost), ..does("push lost", at_ms, silent) },
                does("revoked", at_ms + lost / 2, json!({"do": "revoke"})),
            ]
        }
        "propagation" => {
            let slow = json!({"do": "rotate", "propagation_ms": [slot / 5, slot / 2]});
            vec![does("slow propagation", at_ms, slow)]
        }
        "outage" => {
            let down = slot / 2;
            let outage = json!({"do": "endpoint", "fault": "outage", "for_ms": down});
            vec![
                Act { fault_ms: Some(down), ..does("endpoint down", at_ms, outage) },
                does("overlap", at_ms + down / 4, json!({"do": "rotate"})),
            ]
        }
        "rollback" => vec![
            does("bad key", at_ms, json!({"do": "rotate", "accepted": false})),
            does("rolled back", at_ms + slot * 3 / 5, json!({"do": "rollback"})),
        ],
        _ => vec![does("overlap", at_ms, json!({"do": "rotate"}))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_script_has_every_kind_in_time() {
        let acts = script("all", 20);
        let rotations = acts.iter().filter(|act| act.fault_ms.is_none()).count();
        assert!(rotations >= 10, "{rotations}");
        assert!(acts.iter().all(|act| act.at_ms < 19_000));
        assert!(acts.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
        for act in acts {
            assert!(serde_json::from_value::<keyswap_endpoint::world::Step>(act.step).is_ok());
        }
    }
}
