use super::*;

fn set() -> CredentialSet {
    CredentialSet::new(Credential::new("k2", "two")).with_previous(Credential::new("k1", "one"))
}

#[test]
fn a_well_formed_set_passes() {
    set().check().expect("well-formed");
}

#[test]
fn each_fault_is_named() {
    let too_many =
        set().with_previous(Credential::new("a", "a")).with_previous(Credential::new("b", "b"));
    let faults = [
        (CredentialSet::default(), "no current"),
        (too_many.with_next(Credential::new("c", "c")), "more than 4"),
        (set().with_previous(Credential::new("k1", "x")), "twice"),
        (set().with_previous(Credential::new("k 0", "x")), "must match"),
        (set().with_previous(Credential::bare("k0")), "no material"),
        (set().with_revoked("k1"), "revoked by it"),
        ((0..65).fold(set(), |set, n| set.with_revoked(&format!("r{n}"))), "more than 64"),
    ];
    for (set, words) in faults {
        let error = set.check().expect_err(words);
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_count_is_shared_by_copies_and_no_part_of_what_they_are() {
    let (counted, fresh) = (Credential::new("k1", "one"), Credential::new("k1", "one"));
    counted.clone().accepted().add();
    assert_eq!((counted.accepted().count(), fresh.accepted().count()), (1, 0));
    assert_eq!(counted, fresh);
    let apart = std::ptr::from_ref(&counted.accepted.0.accepted).addr();
    assert_eq!(apart % 128, 0, "it shares no cache line");
}

#[test]
fn printing_shows_no_material() {
    let shown = format!("{:?}", set().with_next(Credential::new("k3", "three")));
    assert!(shown.contains("k3"));
    for material in ["\"one\"", "\"two\"", "\"three\""] {
        assert!(!shown.contains(material), "{shown}");
    }
}
