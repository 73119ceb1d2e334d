use super::*;

fn apply(scheme: &Scheme, credential: &Credential) -> Result<(HeaderMap, Url), Error> {
    let mut url: Url = "https://api.example.com/v1?a=1&api_key=old".parse().expect("url");
    let mut headers = HeaderMap::new();
    let request = Unsigned::new(&Method::GET, &url, &headers, None, Timestamp::UNIX_EPOCH);
    let patch = scheme.apply(credential, &request)?;
    assert!(!format!("{patch:?}").contains("s3cr3t"), "a patch must not print its values");
    patch.apply_headers(&mut headers);
    patch.apply_query(&mut url);
    Ok((headers, url))
}

#[test]
fn each_scheme_puts_the_key_where_it_belongs() {
    let key = Credential::new("k1", "s3cr3t");
    let (headers, _) = apply(&Scheme::header("X-Api-Key"), &key).expect("header");
    assert_eq!(headers["x-api-key"], "s3cr3t");
    assert!(headers["x-api-key"].is_sensitive());
    let (headers, _) = apply(&Scheme::bearer(), &key).expect("bearer");
    assert_eq!(headers["authorization"], "Bearer s3cr3t");
    let pair = Credential::new("k1", "Aladdin").with_material("secret", "open sesame");
    let (headers, _) = apply(&Scheme::basic(), &pair).expect("basic");
    assert_eq!(headers["authorization"], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    let (_, url) = apply(&Scheme::query("api_key"), &key).expect("query");
    assert_eq!(url.query(), Some("a=1&api_key=s3cr3t"));
}

#[cfg(feature = "host")]
#[test]
fn a_name_is_spelled_as_it_was_given() {
    let key = Credential::new("k1", "s3cr3t");
    let spelled = |scheme: Scheme| -> String {
        let patch = scheme.prepare(&key).expect("a patch");
        patch.spelled_headers().map(|(name, _)| name.to_owned()).collect()
    };
    assert_eq!(spelled(Scheme::header("X-MEXC-APIKEY")), "X-MEXC-APIKEY");
    assert_eq!(spelled(Scheme::header("x-api-key")), "x-api-key");
    assert_eq!(spelled(Scheme::bearer()), "Authorization");
    let mut patch = Patch::default();
    patch.add_spelled_header("X-Sign", "1", &key).expect("a header");
    assert!(patch.add_spelled_header("a b", "1", &key).is_err());
    assert_eq!(patch.spelled_headers().next().map(|(name, _)| name), Some("X-Sign"));
    assert_eq!(patch.headers().next().map(|(name, _)| name.as_str()), Some("x-sign"));
}

#[test]
fn a_header_is_made_once_and_anew_for_other_material() {
    let key = Credential::new("k1", "one");
    let at = |scheme: &Scheme, key: &Credential| {
        let patch = scheme.prepare(key).expect("prepared");
        let value = patch.headers().next().expect("a header").1.as_bytes();
        (String::from_utf8(value.to_vec()).expect("text"), value.as_ptr())
    };
    let (plain, bearer) = (Scheme::header("x-api-key"), Scheme::bearer());
    assert_eq!(at(&plain, &key), at(&plain, &key), "one buffer for all requests");
    assert_eq!(at(&bearer, &key), at(&bearer, &key));
    assert_eq!((&*at(&plain, &key).0, &*at(&bearer, &key).0), ("one", "Bearer one"));
    let other = key.clone().with_material("key", "two");
    assert_eq!((&*at(&plain, &other).0, &*at(&bearer, &other).0), ("two", "Bearer two"));
    let again = other.with_material("key", "three");
    assert_eq!((&*at(&plain, &again).0, &*at(&plain, &key).0), ("three", "one"));
}

#[test]
fn what_cannot_be_put_on_a_request_is_refused() {
    for odd in ["good-2\nx", "a\r\nb", "a\0b", "a\tb", "s3é", "\u{feff}s3", "s3 ", " s3", ""] {
        let odd = Credential::new("k1", odd);
        for scheme in [Scheme::bearer(), Scheme::header("x-api-key")] {
            let error = apply(&scheme, &odd).expect_err("odd");
            assert_eq!(error.kind(), ErrorKind::SchemeFailed);
            let material = odd.reveal("key").expect("a key");
            assert!(material.is_empty() || !format!("{error:?}").contains(material.trim()));
        }
    }
    // Where it is encoded, it may hold anything.
    let odd = Credential::new("k1", "clé à vis\n");
    let (headers, _) = apply(&Scheme::basic(), &odd).expect("basic");
    assert_eq!(headers["authorization"], "Basic Y2zDqSDDoCB2aXMKOg==");
    let (_, url) = apply(&Scheme::query("api_key"), &odd).expect("query");
    assert_eq!(url.query(), Some("a=1&api_key=cl%C3%A9+%C3%A0+vis%0A"));
    let bare = Credential::bare("k1").with_material("other", "x");
    assert!(apply(&Scheme::bearer(), &bare).expect_err("bare").to_string().contains("\"key\""));
    for name in [
        "host",
        "Cookie",
        "content-length",
        "transfer-encoding",
        "a b",
        "Connection",
        "upgrade",
        "TE",
        "trailer",
        "expect",
        "keep-alive",
        "proxy-authorization",
        "Proxy-Connection",
        "",
        "x-a\r\nx-b",
    ] {
        assert_eq!(Scheme::header(name).check().expect_err(name).kind(), ErrorKind::InvalidConfig);
    }
}

#[test]
fn a_set_may_name_a_header_but_not_a_query() {
    use crate::credential::NamedScheme;
    let named = |name: &str, header: Option<&str>| {
        let scheme = NamedScheme { name: name.into(), header: header.map(Into::into) };
        Scheme::named_by(&Credential::new("k1", "x").with_scheme(scheme))
    };
    assert!(named("api_key", Some("x-key")).expect("scheme").check().is_ok());
    for refused in [
        "cookie",
        "Connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "keep-alive",
        "proxy-authorization",
        "X-HTTP-Method-Override",
        "x-method-override",
        "x-forwarded-for",
        "X-Forwarded-Host",
        "forwarded",
        "x-real-ip",
        "x-original-url",
        "x-rewrite-url",
        "if-match",
        "range",
        "content-type",
        "origin",
        "referer",
        "user-agent",
        "sec-fetch-site",
        "a b",
        "x-a\r\nx-b",
        "s3cr3t s3cr3t",
    ] {
        let error = named("api_key", Some(refused)).expect_err(refused);
        assert_eq!(error.kind(), ErrorKind::SchemeFailed);
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
    }
    for header in ["authorization", "x-api-key", "Api-Key", "private-token", "x-auth-token"] {
        named("api_key", Some(header)).expect("a scheme").check().expect(header);
    }
    assert!(Scheme::header("x-forwarded-access-token").check().is_ok(), "code may");
    assert!(named("query", None).is_err());
    assert!(Scheme::named_by(&Credential::new("k1", "x")).is_err());
}

#[test]
fn a_query_changes_nothing_else_of_the_url() {
    let mut patch = Patch::default();
    patch.add_query("k", "s/+ 1");
    let mut cleared = Patch::default();
    cleared.add_query("k", "");
    for (before, removed, after) in [
        ("?a=%7E~&b=c%20d+e&&x", "?a=%7E~&b=c%20d+e&&x", "?a=%7E~&b=c%20d+e&&x&k=s%2F%2B+1"),
        ("?k=1&a=%2f/'&K=2&k", "?a=%2f/%27&K=2", "?a=%2f/%27&K=2&k=s%2F%2B+1"),
        ("?%6B=1", "", "?k=s%2F%2B+1"),
        ("", "", "?k=s%2F%2B+1"),
        ("?", "?", "?k=s%2F%2B+1"),
        ("?a=\u{ff11}#f", "?a=%EF%BC%91#f", "?a=%EF%BC%91&k=s%2F%2B+1#f"),
    ] {
        let base = "https://api.example.com/%7e/~";
        let mut url: Url = format!("{base}{before}").parse().expect("url");
        let mut clear = url.clone();
        cleared.remove_query(&mut clear);
        assert_eq!(clear.as_str(), format!("{base}{removed}"));
        patch.apply_query(&mut url);
        assert_eq!(url.as_str(), format!("{base}{after}"));
    }
}

#[test]
fn a_body_brings_its_length_along() {
    let mut patch = Patch::default();
    patch.set_body("nonce=1");
    assert!(!patch.is_empty() && format!("{patch:?}") == "[\"body\"]");
    let mut headers = HeaderMap::new();
    patch.apply_headers(&mut headers);
    assert!(headers.is_empty(), "whoever sends it counts");
    headers.insert(http::header::CONTENT_LENGTH, 3.into());
    patch.apply_headers(&mut headers);
    assert_eq!(headers["content-length"], "7");
}

#[test]
fn what_is_no_secret_may_be_repeated() {
    let (key, mut patch) = (Credential::new("k1", "x"), Patch::default());
    patch.add_plain_header(HeaderName::from_static("x-version"), "2", &key).expect("a header");
    patch.add_plain_query("timestamp", "1700000000123");
    assert_eq!(patch.values().count(), 0);
    patch.add_header(HeaderName::from_static("x-sign"), "s3", &key).expect("a header");
    patch.add_query("signature", "s4");
    assert_eq!(patch.values().collect::<Vec<_>>(), [b"s3", b"s4"]);
}

#[test]
fn a_nonce_only_rises_for_a_key_whatever_the_clock_does() {
    let key = Credential::new("k1", "x");
    let at = |millis| {
        let (url, headers) = ("https://a.example".parse().expect("url"), HeaderMap::new());
        let now = Timestamp::from_millisecond(millis).expect("a time");
        Unsigned::new(&Method::GET, &url, &headers, None, now).nonce(&key)
    };
    assert_eq!([at(1_000), at(1_000), at(500), at(2_000)], [1_000, 1_001, 1_002, 2_000]);
    let drawn: Vec<u64> = std::thread::scope(|scope| {
        let draw = || (0..1_000).map(|_| key.nonce(1)).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
    });
    let unique: std::collections::BTreeSet<_> = drawn.iter().collect();
    assert_eq!(unique.len(), 4_000);
}
