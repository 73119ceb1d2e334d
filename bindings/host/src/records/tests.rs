use keyswap::{CredentialId, Error, ErrorKind};
use serde_json::Value;

use super::*;

/// Each event, with all of its fields.
fn events() -> Vec<Event> {
    let id = |name: &str| CredentialId::from(name);
    let second = Duration::from_millis(1500);
    let error = Error::new(ErrorKind::Timeout, "too late");
    vec![
        Event::Fetched { generation: 7, primary: id("k2") },
        Event::NotModified { generation: 7 },
        Event::FetchFailed { error: error.clone(), retry_in: second },
        Event::Swapped { from: Some(id("k1")), to: id("k2"), generation: 7 },
        Event::Candidate { credential: id("k2"), in_use: id("k1") },
        Event::Promoted { from: id("k1"), to: id("k2"), proven: true },
        Event::Rejected {
            credential: id("k2"),
            candidate: true,
            probe_in: Some(second),
            reason: Some(error),
        },
        Event::FellBack { from: id("k2"), to: id("k1") },
        Event::RolledBack { from: id("k2"), to: id("k1") },
        Event::Expired { credential: id("k1") },
        Event::Revoked { credentials: vec![id("k1")], set: false },
        Event::Exhausted { credential: id("k1"), cooldown: second, never_accepted: true },
        Event::Recovered {
            credential: Some(id("k1")),
            went_back: Some(WentBack { from: 9, to: 7 }),
        },
        Event::Lagging { credential: id("k2"), since: second },
        Event::PushLost { silent: second },
        Event::ClockJumped { by_ms: -5 },
        Event::Lagged { missed: 3 },
    ]
}

#[test]
fn a_record_has_every_field_of_its_event() {
    let names: Vec<_> = events().iter().map(Event::name).collect();
    assert_eq!(names, Event::NAMES, "an event is missing here");
    for event in events() {
        let record = EventRecord::from(&event);
        assert_eq!((&*record.name, record.text.clone()), (event.name(), event.to_string()));
        let written = serde_json::to_value(&event).expect("json");
        let recorded = serde_json::to_value(&record).expect("json");
        assert_eq!(recorded, written, "{}", event.name());
    }
}

#[test]
fn what_an_event_lacks_is_none() {
    let event = Event::Swapped { from: None, to: "k1".into(), generation: 1 };
    let Ok(Value::Object(fields)) = serde_json::to_value(EventRecord::from(&event)) else {
        panic!("an object")
    };
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["event", "generation", "to"]);
}

#[test]
fn a_set_shows_all_but_material() {
    let second = Timestamp::from_second(1_000).expect("a time");
    let primary = Credential::new("k2", "s3cr3t").with_version("2").with_expires_at(second);
    let set = CredentialSet::new(primary)
        .with_generation(7)
        .with_previous(Credential::new("k1", "s3cr3t"))
        .with_revoked("k0");
    let record = SetRecord::from(&set);
    assert_eq!((record.generation, record.previous.len(), record.revoked.len()), (7, 1, 1));
    let shown = CredentialRecord::from(&**record.primary.as_ref().expect("one"));
    assert_eq!((&*shown.id, shown.version.as_deref()), ("k2", Some("2")));
    assert_eq!(shown.expires_at_ms, Some(1_000_000));
    assert!(!format!("{record:?} {shown:?}").contains("s3cr3t"));
}
