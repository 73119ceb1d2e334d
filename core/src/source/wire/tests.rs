use super::*;

const FULL: &str = r#"{
        "protocol": "keyswap/1.4", "set": "trading-eu", "generation": 43, "lineage": "a7",
        "server_time": "2026-11-23T18:00:00Z", "refresh_after": "2026-11-23T18:05:00Z",
        "splay_seconds": 30, "stale_ok_until": "2026-11-24T18:00:00Z", "levels": ["wait"],
        "audience": ["https://api.example.com"], "scopes": ["trade:write"], "new_field": {"a": [1.5]},
        "current": { "id": "k_43", "version": "43",
            "material": { "key": "s3cr3t-a", "pass": "s3cr3t-\"b\"" },
            "scheme": "api_key", "params": { "header": "x-api-key" }, "scopes": ["a", "b"],
            "created_at": "2026-11-01T00:00:00Z", "not_before": "2026-11-02T00:00:00Z",
            "expires_at": "2026-12-01T00:00:00.5+01:00", "activate": "at" },
        "previous": [ { "id": "k_42", "material": { "key": "s3cr3t-c" },
            "grace_expires_at": "2026-11-23T19:00:00Z" }, { "id": "k_41", "material": { "key": "d" } } ],
        "next": { "id": "k_44", "material": { "key": "s3cr3t-e" }, "expires_at": null,
            "activate_at": "2026-11-30T00:00:00Z" },
        "revoked": ["k_40"] }"#;

fn at(text: &str) -> Option<Timestamp> {
    Some(text.parse().expect("a time"))
}

#[test]
fn every_field_arrives() {
    let set = parse_answer(FULL.as_bytes(), Some("trading-eu"), false).expect("well-formed");
    assert_eq!(set.generation, Some(43));
    assert_eq!(set.lineage.as_deref(), Some("a7"));
    assert_eq!(set.as_of, at("2026-11-23T18:00:00Z"));
    assert_eq!(set.refresh_after, at("2026-11-23T18:05:00Z"));
    assert_eq!(set.stale_ok_until, at("2026-11-24T18:00:00Z"));
    assert_eq!(set.splay, Duration::from_secs(30));
    assert_eq!(set.audience(), ["https://api.example.com".into()]);
    assert_eq!(set.scopes(), ["trade:write".into()]);
    assert_eq!(set.revoked(), ["k_40".into()]);
    let current = set.primary().expect("current");
    assert_eq!((current.id(), current.version()), ("k_43", Some("43")));
    assert_eq!(current.reveal("key"), Some("s3cr3t-a"));
    assert_eq!(current.reveal("pass"), Some("s3cr3t-\"b\""));
    assert_eq!(current.created_at(), at("2026-11-01T00:00:00Z"));
    assert_eq!(current.not_before(), at("2026-11-02T00:00:00Z"));
    assert_eq!(current.expires_at(), at("2026-11-30T23:00:00.5Z"));
    assert_eq!(current.scopes(), ["a".into(), "b".into()]);
    let scheme = NamedScheme { name: "api_key".into(), header: Some("x-api-key".into()) };
    assert_eq!(current.scheme(), Some(&scheme));
    let previous: Vec<_> = set.previous().map(Credential::id).collect();
    assert_eq!(previous, ["k_42", "k_41"]);
    let graced = set.previous().next().and_then(Credential::grace_expires_at);
    assert_eq!(graced, at("2026-11-23T19:00:00Z"));
    let next = set.next().expect("next");
    assert_eq!(next.activate_at(), at("2026-11-30T00:00:00Z"));
    assert_eq!(next.expires_at(), None);
    assert!(!format!("{set:?}").contains("s3cr3t"));
}

#[test]
fn what_a_program_wrote_may_be_shorter() {
    let short = br#"{"current": {"id": "k2", "key": "a", "secret": "b", "passphrase": null,
            "material": {"c": "d"}, "expires_at": 1795442400.5, "created_at": "2026-11-01T00:00:00Z"},
            "previous": [{"id": "k1", "key": "e", "grace_expires_at": 1795442400}]}"#;
    let set = parse_short(short).expect("well-formed");
    let current = set.primary().expect("current");
    let revealed = ["key", "secret", "passphrase", "c"].map(|name| current.reveal(name));
    assert_eq!(revealed, [Some("a"), Some("b"), None, Some("d")]);
    assert_eq!(current.expires_at(), at("2026-11-23T14:00:00.5Z"));
    assert_eq!(current.created_at(), at("2026-11-01T00:00:00Z"));
    let previous = set.previous().next().expect("previous");
    assert_eq!(previous.grace_expires_at(), at("2026-11-23T14:00:00Z"));
    assert!(parse(short).is_err(), "an endpoint writes the whole of it");
}

#[test]
fn faults_of_what_a_program_wrote_quote_nothing() {
    let cases = [
        (r#"{"current": {"id": "k", "expires_at": 1}}"#, "current.material is missing"),
        (r#"{"current": {"id": "k", "key": ["s3cr3t"]}}"#, "current.material must be"),
        (
            r#"{"current": {"id": "k", "key": "s3cr3t", "material": {"key": "s3cr3t"}}}"#,
            "current.material must not",
        ),
        (r#"{"current": {"id": "k", "key": "s3cr3t", "expires_at": 1e300}}"#, "since 1970"),
        (r#"{"current": {"id": "k", "key": "s3cr3t", "expires_at": []}}"#, "since 1970"),
        (
            r#"{"refresh_after": true, "current": {"id": "k", "key": "s3cr3t"}}"#,
            "refresh_after must",
        ),
    ];
    for (document, words) in cases {
        let error = parse_short(document.as_bytes()).expect_err(words);
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(words) && !shown.contains("s3cr3t"), "{words}: {shown}");
    }
}

#[test]
fn only_an_endpoint_must_number_its_sets() {
    let document = br#"{"current": {"id": "k", "material": {"key": "a"}}}"#;
    assert_eq!(parse(document).expect("well-formed").generation, None);
    let error = parse_answer(document, None, false).expect_err("no generation");
    assert!(error.to_string().contains("generation is missing"), "{error}");
}

/// Every string of these documents that could be a secret holds `s3cr3t`.
#[test]
fn each_fault_names_the_field_and_quotes_nothing() {
    let replaced = |from: &str, to: &str| {
        assert!(FULL.contains(from), "{from}");
        FULL.replacen(from, to, 1)
    };
    let cases = [
        (replaced("keyswap/1.4", "keyswap/12"), "protocol must be keyswap/1"),
        (replaced("keyswap/1.4", "keyswap/1.s3cr3t"), "protocol must be keyswap/1"),
        (replaced("trading-eu", "s3cr3t"), "set must be the one"),
        (replaced("43,", "\"s3cr3t\","), "generation must be a whole number"),
        (replaced("43,", "-1,"), "generation must be a whole number"),
        (replaced("43,", "4.5,"), "generation must be a whole number"),
        (replaced("43,", "null,"), "generation is missing"),
        (replaced("\"lineage\": \"a7\"", "\"lineage\": 7"), "lineage must be a string"),
        (replaced("2026-11-23T18:05", "s3cr3t"), "refresh_after must be an RFC 3339"),
        (replaced("2026-11-23T18:00", "2026-11-23s3cr3t"), "server_time must be an RFC 3339"),
        (replaced("\"splay_seconds\": 30", "\"splay_seconds\": -1"), "splay_seconds must be"),
        (replaced("\"current\"", "\"curent\""), "current is missing"),
        (replaced("\"current\": {", "\"current\": 5, \"x\": {"), "current must be an object"),
        (replaced("\"id\": \"k_43\",", ""), "current.id is missing"),
        (replaced("\"k_43\"", "\"s3cr3t key\""), "id must match"),
        (replaced("\"k_43\"", "43"), "current.id must be a string"),
        (replaced("\"material\"", "\"stuff\""), "current.material is missing"),
        (replaced("\"s3cr3t-a\"", "{\"s3cr3t\": 1}"), "current.material must be"),
        (replaced("\"key\": \"s3cr3t-a\"", "\"s3cr3t\": 12"), "current.material must be"),
        (replaced("{ \"key\": \"s3cr3t-c\" }", "{}"), "k_42 has no material"),
        (replaced("{ \"key\": \"s3cr3t-c\" }", "[\"s3cr3t\"]"), "previous[0].material must be"),
        (replaced("2026-11-23T19:00:00Z", "s3cr3t"), "previous[0].grace_expires_at must be"),
        (replaced("2026-11-30T00:00:00Z", "s3cr3t"), "next.activate_at must be"),
        (replaced("{ \"header\": \"x-api-key\" }", "[\"s3cr3t\"]"), "current.params must be"),
        (replaced("\"x-api-key\"", "{\"s3cr3t\":1}"), "current.params.header must be"),
        (replaced("[\"a\", \"b\"]", "[\"s3cr3t\", 1]"), "current.scopes must be a list of"),
        (replaced("[\"k_40\"]", "[\"s3cr3t!\"]"), "revoked id must match"),
        (replaced("\"previous\": [", "\"previous\": [\"s3cr3t\","), "previous must be a list of"),
        (
            replaced(
                "\"previous\": [",
                "\"previous\": [{\"id\":\"p\",\"material\":{\"k\":\"k\"}},",
            ),
            "previous must list at most two",
        ),
        (replaced("\"generation\"", "\"set\": \"s3cr3t\", \"generation\""), "stands twice"),
        (replaced("\"s3cr3t-a\"", "s3cr3t-a"), "not JSON (line 7, column "),
        (FULL[..700].to_owned(), "ends too early"),
        ("\"s3cr3t\"".to_owned(), "must be an object"),
        (String::new(), "ends too early"),
        (" ".repeat(MAX_DOCUMENT + 1), "larger than 64 KiB"),
        ("[".repeat(500), "not JSON"),
    ];
    for (document, words) in cases {
        let error = parse_answer(document.as_bytes(), Some("trading-eu"), false).expect_err(words);
        assert_eq!(error.kind(), ErrorKind::Malformed);
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(words), "{words}: {shown}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}

#[test]
fn an_absurd_splay_is_cut() {
    for splay in ["18446744073709551615", "1e18"] {
        let document = FULL.replace("30,", &format!("{splay},"));
        assert_eq!(parse(document.as_bytes()).expect("well-formed").splay, MAX_SPLAY);
    }
}

#[test]
fn a_problem_is_known_by_its_type_and_names_the_set() {
    let is_problem = |body: &[u8]| is_problem(body, "urn:keyswap:error:set-revoked", Some("eu"));
    assert!(is_problem(br#"{"type": "urn:keyswap:error:set-revoked", "set": "eu"}"#));
    assert!(!is_problem(br#"{"type": "urn:keyswap:error:set-revoked", "set": "us"}"#));
    assert!(!is_problem(br#"{"type": "urn:keyswap:error:set-revoked", "x": 1}"#), "which set?");
    assert!(!is_problem(br#"{"type": "urn:keyswap:error:set-revoked-not"}"#));
    assert!(!is_problem(br#"{"detail": "urn:keyswap:error:set-revoked"}"#));
    assert!(!is_problem(b"urn:keyswap:error:set-revoked"));
}

/// Whatever a provider's language calls «never».
#[test]
fn a_time_at_an_end_of_the_calendar_is_none_in_every_field() {
    for never in ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"] {
        let times = format!(
            r#""created_at": "{never}", "not_before": "{never}", "activate_at": "{never}",
               "expires_at": "{never}", "grace_expires_at": "{never}""#
        );
        let document = format!(
            r#"{{"generation": 1, "server_time": "{never}", "refresh_after": "{never}",
                "stale_ok_until": "{never}",
                "current": {{"id": "a", "material": {{"key": "x"}}, {times}}},
                "previous": [{{"id": "b", "material": {{"key": "y"}}, {times}}}],
                "next": {{"id": "c", "material": {{"key": "z"}}, {times}}}}}"#
        );
        let read = [parse(document.as_bytes()), parse_short(document.as_bytes())];
        for set in read {
            let set = set.expect(never);
            assert_eq!((set.as_of, set.refresh_after, set.stale_ok_until), (None, None, None));
            assert_eq!(set.members().count(), 3);
            for member in set.members() {
                let times = [
                    member.created_at(),
                    member.not_before(),
                    member.activate_at(),
                    member.expires_at(),
                    member.grace_expires_at(),
                ];
                assert_eq!(times, [None; 5], "{never}");
            }
        }
    }
    let short = br#"{"current": {"id": "a", "key": "x", "expires_at": 253402300799},
                     "previous": [{"id": "b", "key": "y", "grace_expires_at": -62135596800}]}"#;
    let set = parse_short(short).expect("both ends");
    assert_eq!(set.primary().and_then(Credential::expires_at), None);
    assert_eq!(set.previous().next().and_then(Credential::grace_expires_at), None);
}

#[test]
fn an_empty_name_is_none() {
    let document = r#"{"protocol": "", "set": "", "lineage": "", "generation": 1, "current":
        {"id": "a", "version": "", "scheme": "", "params": {"header": ""}, "material": {"key": "x"}}}"#;
    let set = parse_answer(document.as_bytes(), Some("eu"), false).expect("well-formed");
    let current = set.primary().expect("current");
    assert_eq!((current.scheme(), current.version(), set.lineage.as_deref()), (None, None, None));
    assert!(parse_answer(document.as_bytes(), Some("eu"), true).is_err(), "it names no set");
    let unnamed = document.replace(r#""scheme": """#, r#""scheme": "api_key""#);
    let set = parse(unnamed.as_bytes()).expect("well-formed");
    let scheme = set.primary().and_then(Credential::scheme).expect("a scheme");
    assert_eq!(scheme.header, None, "as if it were absent");
}

#[cfg(feature = "gzip")]
#[test]
fn a_byte_order_mark_and_an_unasked_gzip_are_read() {
    let marked = [b"\xEF\xBB\xBF", FULL.as_bytes()].concat();
    let read = parse(FULL.as_bytes()).expect("well-formed");
    assert_eq!(parse(&marked).expect("with a mark"), read);
    for plain in [FULL.as_bytes(), &marked] {
        let set = parse_answer(&gzip(plain), Some("trading-eu"), true).expect("compressed");
        assert_eq!(set, read);
    }
    let gone = gzip(br#"{"type": "t", "set": "eu"}"#);
    assert!(is_problem(&gone, "t", Some("eu")));
}

#[cfg(feature = "gzip")]
#[test]
fn what_is_compressed_is_unpacked_to_64_kib_at_most() {
    let bomb = gzip(&vec![b' '; 40 << 20]);
    assert!(bomb.len() < MAX_DOCUMENT, "{} bytes come over the wire", bomb.len());
    let torn = &gzip(FULL.as_bytes())[..200];
    for (body, words) in [(&bomb[..], "larger than 64 KiB"), (torn, "cannot be unpacked")] {
        let error = parse_answer(body, None, false).expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[cfg(feature = "gzip")]
fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(plain).expect("written");
    out.finish().expect("written")
}

/// What fills its 64 KiB with as much as possible of one kind costs no more than its length.
#[test]
fn a_hostile_document_is_read_in_linear_time() {
    let many = |count: usize, of: &dyn Fn(usize) -> String| {
        (0..count).map(of).collect::<Vec<_>>().join(",")
    };
    let fields = many(5000, &|n| format!(r#""f{n:x}":0"#));
    let pieces = many(4000, &|n| format!(r#""p{n}":"x""#));
    let credentials = many(1500, &|n| format!(r#"{{"id":"k{n}","material":{{"k":"x"}}}}"#));
    let current = r#""generation":1,"current":{"id":"k","material":{"key":"x"}}"#;
    let read = |document: String| {
        assert!(document.len() <= MAX_DOCUMENT, "{}", document.len());
        parse(document.as_bytes()).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(read(format!("{{{current},{fields}}}")), Ok(()));
    let error =
        read(format!(r#"{{"current":{{"id":"k","material":{{{pieces}}}}}}}"#)).expect_err("many");
    assert!(error.contains("at most 64 pieces"), "{error}");
    let error = read(format!(r#"{{{current},"previous":[{credentials}]}}"#)).expect_err("many");
    assert!(error.contains("at most two credentials"), "{error}");
    let twice = format!(r#"{{{current},{fields},"f7d0":0}}"#);
    assert!(read(twice).expect_err("twice").contains("stands twice"));
}
