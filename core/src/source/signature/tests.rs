use http::{HeaderName, HeaderValue};
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::*;

const NOW: i64 = 1_795_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const BODY: &[u8] = b"{}";

/// What a server would send, and how it signs it. Written apart from what it tests: by the text of the
/// RFC, as one string.
struct Signer {
    pair: Ed25519KeyPair,
    status: u16,
    headers: Vec<(&'static str, String)>,
    covered: Vec<&'static str>,
    params: String,
}

impl Signer {
    fn of(status: u16, headers: &[(&'static str, &str)], covered: &[&'static str]) -> Self {
        Self {
            pair: pair(7),
            status,
            headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            covered: covered.to_vec(),
            params: format!(";created={NOW}"),
        }
    }

    fn body() -> Self {
        Self::of(200, &[(DIGEST, &digest_of(BODY))], &[STATUS, DIGEST])
    }

    fn params(mut self, params: &str) -> Self {
        self.params = params.to_owned();
        self
    }

    fn signed(&self) -> HeaderMap {
        let mut base = String::new();
        for name in &self.covered {
            let value = match *name {
                STATUS => self.status.to_string(),
                name => self
                    .headers
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| value.clone())
                    .unwrap_or_default(),
            };
            base += &format!("\"{name}\": {value}\n");
        }
        let list: Vec<_> = self.covered.iter().map(|name| format!("\"{name}\"")).collect();
        let input = format!("({}){}", list.join(" "), self.params);
        base += &format!("\"@signature-params\": {input}");
        let signature = STANDARD.encode(self.pair.sign(base.as_bytes()));
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        };
        for (name, value) in &self.headers {
            put(name, value);
        }
        put("signature-input", &format!("any-label={input}"));
        put("signature", &format!("any-label=:{signature}:"));
        headers
    }

    fn check(&self, pin: &Pin) -> Result<(), Fault> {
        self.check_at(pin, at(0))
    }

    fn check_at(&self, pin: &Pin, now: Moment) -> Result<(), Fault> {
        let status = StatusCode::from_u16(self.status).unwrap();
        pin.check(now, HOUR, status, &self.signed(), About::Body(BODY))
    }

    /// A 304 for the set of that name, made at this time.
    fn unchanged(set: &str, created: i64) -> Self {
        Self::of(304, &[(ETAG, "\"g7\"")], &[STATUS, ETAG])
            .params(&format!(";created={created};tag=\"{set}\""))
    }

    fn check_unchanged(&self, pin: &Pin, now: Moment) -> Result<(), Fault> {
        let about = About::Unchanged { validator: "\"g7\"", set: "eu" };
        pin.check(now, HOUR, StatusCode::NOT_MODIFIED, &self.signed(), about)
    }
}

/// So many seconds later, by both clocks.
fn at(later: i64) -> Moment {
    Moment { wall: (NOW + later) * 1000, boot: 1 + u64::try_from(later).unwrap() * 1000 }
}

fn made_at(created: i64) -> Signer {
    Signer::body().params(&format!(";created={created}"))
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn pin() -> Pin {
    Pin::new(&STANDARD.encode(pair(7).public_key())).unwrap()
}

fn digest_of(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest::digest(&digest::SHA256, body)))
}

#[test]
fn the_rfcs_own_vector_holds() {
    let input = r#"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#;
    let signature = "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:";
    let key = Pin::new("JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=").unwrap().key;
    let inputs = dictionary(input).unwrap();
    let [(_, Member::List(list))] = &inputs[..] else { panic!("one list") };
    let value_of = |name: &str| {
        Some(String::from(match name {
            "date" => "Tue, 20 Apr 2021 02:07:55 GMT",
            "@method" => "POST",
            "@path" => "/foo",
            "@authority" => "example.com",
            "content-type" => "application/json",
            "content-length" => "18",
            _ => return None,
        }))
    };
    let base = base(list, value_of).unwrap();
    let signatures = dictionary(signature).unwrap();
    let signature = bytes(&signatures, "sig-b26").unwrap();
    let key = UnparsedPublicKey::new(&ED25519, key);
    key.verify(base.as_bytes(), signature).expect("the signature of RFC 9421, appendix B.2.6");
    assert!(key.verify(base.replace("POST", "GET").as_bytes(), signature).is_err());
}

#[test]
fn an_answer_that_is_signed_is_believed() {
    assert_eq!(Signer::body().check(&pin()), Ok(()));
    let all = [("date", "Mon, 23 Nov 2026 18:00:00 GMT"), ("content-type", "application/json")];
    let mut more = Signer::body();
    more.headers.extend(all.map(|(name, value)| (name, value.to_owned())));
    more.covered = vec!["date", DIGEST, "content-type", STATUS];
    assert_eq!(more.check(&pin()), Ok(()));
    let params = format!(";keyid=\"k\";nonce=\"n\";created={NOW};alg=\"ed25519\";expires={NOW}");
    assert_eq!(Signer::body().params(&params).check(&pin()), Ok(()));
}

#[test]
fn a_signature_is_over_this_answer_or_it_is_none() {
    let mut stranger = Signer::body();
    stranger.pair = pair(8);
    let mut without_digest = Signer::body();
    without_digest.headers.clear();
    let mut other_body = Signer::body();
    other_body.headers[0].1 = digest_of(b"{ }");
    let mut only_sha512 = Signer::body();
    only_sha512.headers[0].1 = "sha-512=:AAE=:".to_owned();
    let mut no_status = Signer::body();
    no_status.covered = vec![DIGEST];
    let mut only_status = Signer::body();
    only_status.covered = vec![STATUS];
    let mut unknown = Signer::body();
    unknown.covered.push("@path");
    let mut absent = Signer::body();
    absent.covered.push("date");
    let mut twice = Signer::body();
    twice.covered.push(STATUS);
    let cases = [
        (stranger, Fault::Forged),
        (without_digest, Fault::Digest),
        (other_body, Fault::Digest),
        (only_sha512, Fault::Digest),
        (no_status, Fault::Uncovered),
        (only_status, Fault::Uncovered),
        (unknown, Fault::Uncovered),
        (absent, Fault::Uncovered),
        (twice, Fault::Uncovered),
        (Signer::body().params(""), Fault::Undated),
        (Signer::body().params(";created=\"1\""), Fault::Unreadable),
        (
            Signer::body().params(&format!(";created={NOW};alg=\"rsa-v1_5-sha256\"")),
            Fault::Algorithm,
        ),
        (Signer::body().params(&format!(";created={NOW};expires={}", NOW - 1)), Fault::Expired),
    ];
    for (signer, fault) in cases {
        assert_eq!(signer.check(&pin()), Err(fault), "{:?} {}", signer.covered, signer.params);
    }
}

#[test]
fn what_was_changed_on_the_way_is_refused() {
    let signer =
        Signer::of(200, &[(DIGEST, &digest_of(BODY)), (ETAG, "\"g1\"")], &[STATUS, DIGEST, ETAG]);
    let check = |status, change: &dyn Fn(&mut HeaderMap)| {
        let mut headers = signer.signed();
        change(&mut headers);
        pin().check(at(0), HOUR, status, &headers, About::Body(BODY))
    };
    let set = |name: &'static str, value: &'static str| {
        move |headers: &mut HeaderMap| {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    let remove = |name: &'static str| {
        move |headers: &mut HeaderMap| {
            headers.remove(name);
        }
    };
    assert_eq!(check(StatusCode::OK, &|_| {}), Ok(()));
    assert_eq!(check(StatusCode::GONE, &|_| {}), Err(Fault::Forged));
    assert_eq!(check(StatusCode::OK, &set(ETAG, "\"g2\"")), Err(Fault::Forged));
    assert_eq!(check(StatusCode::OK, &remove(ETAG)), Err(Fault::Uncovered));
    for name in ["signature", "signature-input"] {
        assert_eq!(check(StatusCode::OK, &remove(name)), Err(Fault::Unsigned));
        assert_eq!(check(StatusCode::OK, &set(name, "any-label=(")), Err(Fault::Unreadable));
    }
    assert_eq!(check(StatusCode::OK, &set("signature", "other=:AAE=:")), Err(Fault::Unreadable));
    assert_eq!(check(StatusCode::OK, &set("signature", "any-label=:AAE=:")), Err(Fault::Forged));
}

#[test]
fn one_signature_of_several_is_enough() {
    let ours = Signer::body().signed();
    let mut stranger = Signer::body();
    stranger.pair = pair(8);
    let mut headers = stranger.signed();
    for name in ["signature", "signature-input"] {
        let of = |headers: &HeaderMap| headers[name].to_str().unwrap().to_owned();
        let theirs = of(&headers).replace("any-label", "theirs");
        let both = format!("lonely=(\"@method\"), {theirs}, {}", of(&ours));
        let both =
            if name == "signature" { both.replacen("(\"@method\")", ":AAE=:", 1) } else { both };
        headers.insert(name, HeaderValue::from_str(&both).unwrap());
    }
    assert_eq!(pin().check(at(0), HOUR, StatusCode::OK, &headers, About::Body(BODY)), Ok(()));
}

#[test]
fn an_unchanged_answer_is_signed_over_the_validator_that_was_asked_with_and_names_the_set() {
    let check = |validator: &str, status: u16, covered: &[&'static str], params: &str| {
        let signer = Signer::of(status, &[(ETAG, "\"g7\"")], covered).params(params);
        let about = About::Unchanged { validator, set: "eu" };
        pin().check(at(0), HOUR, StatusCode::NOT_MODIFIED, &signer.signed(), about)
    };
    let named = format!(";created={NOW};tag=\"eu\"");
    assert_eq!(check("\"g7\"", 304, &[STATUS, ETAG], &named), Ok(()));
    assert_eq!(check("\"g8\"", 304, &[STATUS, ETAG], &named), Err(Fault::Validator));
    assert_eq!(check("\"g7\"", 304, &[ETAG], &named), Err(Fault::Uncovered));
    assert_eq!(check("\"g7\"", 304, &[STATUS], &named), Err(Fault::Uncovered));
    assert_eq!(check("\"g7\"", 200, &[STATUS, ETAG], &named), Err(Fault::Forged));
    for tag in ["", ";tag=\"us\"", ";tag=eu", ";tag=\"EU\""] {
        let params = format!(";created={NOW}{tag}");
        assert_eq!(check("\"g7\"", 304, &[STATUS, ETAG], &params), Err(Fault::Nameless), "{tag}");
    }
}

#[test]
fn a_signer_whose_304s_name_no_set_is_asked_for_the_whole_from_then_on() {
    let pin = pin();
    assert!(pin.wants_whole(at(0)), "nothing was seen yet");
    assert_eq!(made_at(NOW).check(&pin), Ok(()));
    assert!(!pin.wants_whole(at(0)));
    let others = Signer::unchanged("us", NOW);
    assert_eq!(others.check_unchanged(&pin, at(0)), Err(Fault::Nameless));
    assert!(!pin.wants_whole(at(0)), "another set's answer says nothing of this one's signer");
    let nameless = Signer::unchanged("eu", NOW).params(&format!(";created={NOW}"));
    assert_eq!(nameless.check_unchanged(&pin, at(0)), Err(Fault::Nameless));
    assert!(pin.wants_whole(at(0)));
    assert_eq!(made_at(NOW).check(&pin), Ok(()));
    assert!(pin.wants_whole(at(0)), "and not now and then");
}

#[test]
fn an_answer_that_is_played_again_is_old() {
    let pin = pin();
    assert_eq!(made_at(NOW).check(&pin), Ok(()));
    assert_eq!(made_at(NOW - DISORDER).check(&pin), Ok(()), "servers answer out of order");
    assert_eq!(made_at(NOW - DISORDER - 1).check(&pin), Err(Fault::Old));
    assert_eq!(made_at(NOW + 10).check(&pin), Ok(()));
    assert_eq!(made_at(NOW - DISORDER).check(&pin), Err(Fault::Old));
    // A forged time moves nothing.
    let mut stranger = made_at(NOW + 200);
    stranger.pair = pair(8);
    assert_eq!(stranger.check(&pin), Err(Fault::Forged));
    assert_eq!(made_at(NOW + 10).check(&pin), Ok(()));
    // What the endpoint has signed shows the time, where this machine's clock is slow.
    assert_eq!(made_at(NOW + 200).check(&pin), Ok(()));
    let expired = Signer::body().params(&format!(";created={};expires={}", NOW + 150, NOW + 160));
    assert_eq!(expired.check(&pin), Err(Fault::Expired));
}

/// One answer of the year 9999 made every later one old, until the program was restarted.
#[test]
fn a_time_ahead_of_the_clock_is_refused_and_moves_nothing() {
    let pin = pin();
    assert_eq!(made_at(NOW).check(&pin), Ok(()));
    let never = 253_402_300_799;
    for created in [NOW + AHEAD + 1, never, 999_999_999_999_999] {
        assert_eq!(made_at(created).check(&pin), Err(Fault::Early { created, now: NOW }));
    }
    assert_eq!(made_at(NOW + 1).check(&pin), Ok(()), "as if it had not been");
    assert_eq!(made_at(NOW + AHEAD).check(&pin), Ok(()));
    let shown = Fault::Early { created: never - 366 * 86_400, now: NOW }.to_string();
    assert!(shown.contains("9998-12-30T") && shown.contains("2026-11-18T"), "{shown}");
}

#[test]
fn a_fresh_process_takes_no_answer_that_is_older_than_an_hour() {
    assert_eq!(made_at(NOW - 3600).check(&pin()), Ok(()));
    for created in [NOW - 3601, NOW - 10 * 365 * 86_400, 0, -999_999_999_999_999] {
        let stale = Fault::Stale { created, now: NOW };
        assert_eq!(made_at(created).check(&pin()), Err(stale));
        assert!(stale.to_string().contains("2026-11-18T"), "{stale}");
    }
}

/// The newest answer, played again and again, is fresh no more when time has gone by.
#[test]
fn the_same_answer_is_not_believed_for_ever() {
    let pin = pin();
    assert_eq!(made_at(NOW).check(&pin), Ok(()));
    let (whole, same) = (made_at(NOW), Signer::unchanged("eu", NOW));
    for later in [0, 1800, 3600] {
        assert_eq!(whole.check_at(&pin, at(later)), Ok(()));
        assert_eq!(same.check_unchanged(&pin, at(later)), Ok(()));
    }
    let late = at(3 * 3600);
    let stale = Err(Fault::Stale { created: NOW, now: NOW + 3 * 3600 });
    assert_eq!(whole.check_at(&pin, late), stale);
    assert_eq!(same.check_unchanged(&pin, late), stale);
    // A clock that was set wrong while the program ran is known by the time that went by.
    let jumped = Moment { wall: late.wall + 86_400_000, ..late };
    assert_eq!(made_at(NOW + 3 * 3600).check_at(&pin, jumped), Ok(()));
}

#[test]
fn a_304_is_no_older_than_the_whole_and_after_a_day_of_them_the_whole_is_asked_for() {
    let pin = pin();
    assert_eq!(made_at(NOW).check(&pin), Ok(()));
    let unchanged = |created, now| Signer::unchanged("eu", created).check_unchanged(&pin, now);
    assert_eq!(unchanged(NOW - 1, at(0)), Err(Fault::Old));
    for hours in 1..24 {
        assert_eq!(unchanged(NOW + hours * 3600, at(hours * 3600)), Ok(()));
        assert!(!pin.wants_whole(at(hours * 3600)));
    }
    assert!(pin.wants_whole(at(24 * 3600)));
    assert_eq!(made_at(NOW + 24 * 3600).check_at(&pin, at(24 * 3600)), Ok(()));
    assert!(!pin.wants_whole(at(24 * 3600)));
}

#[test]
fn signatures_without_a_reasonable_end_are_not_read() {
    let mut headers = Signer::body().signed();
    for _ in 0..20_000 {
        headers.append("signature-input", HeaderValue::from_static("any-label=()"));
    }
    let outcome = pin().check(at(0), HOUR, StatusCode::OK, &headers, About::Body(BODY));
    assert_eq!(outcome, Err(Fault::Unreadable));
}

#[test]
fn a_key_is_the_base64_of_32_bytes() {
    for text in ["", "s3cr3t", "AAE=", "-----BEGIN PUBLIC KEY-----"] {
        let error = Pin::new(text).err().expect(text);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(!error.to_string().contains("s3cr3t"));
    }
}
