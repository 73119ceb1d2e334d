use keyswap::host::each_event;
use serde_json::{Map, Value};

use super::*;

#[test]
fn a_record_has_the_fields_of_its_event_and_no_others() {
    for event in each_event() {
        let record = EventRecord::from(&event);
        assert_eq!((&*record.name, record.text.clone()), (event.name(), event.to_string()));
        let recorded = serde_json::to_value(&record).expect("json");
        let (recorded, written) =
            (some(recorded), some(serde_json::to_value(&event).expect("json")));
        assert_eq!(recorded, written, "{}", event.name());
    }
}

fn some(fields: Value) -> Map<String, Value> {
    let Value::Object(mut fields) = fields else { panic!("an object") };
    fields.retain(|_, value| !value.is_null());
    fields
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
