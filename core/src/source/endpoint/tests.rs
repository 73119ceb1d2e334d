use super::*;

#[test]
fn the_set_asked_for_is_named_by_the_path_or_told() {
    let cases = [
        ("https://k.example.com/v1/sets/eu-1?x=1", Some("eu-1"), Some("eu-1")),
        ("https://k.example.com/v1/sets/eu-1/", Some("eu-1"), Some("eu-1")),
        ("https://k.example.com/sets/t%2Deu", Some("t-eu"), Some("t-eu")),
        ("https://k.example.com/sets/a%20b%", Some("a b%"), Some("a b%")),
        ("https://k.example.com/keys.json", None, Some("keys.json")),
        ("https://k.example.com/sets/", None, Some("sets")),
        ("https://k.example.com/", None, None),
        ("https://k.example.com/sets/%FF", None, None),
    ];
    let key = "JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=";
    for (url, plain, signed) in cases {
        let endpoint = || Endpoint::new(url).expect("a URL");
        assert_eq!(endpoint().name(), plain, "{url}");
        let pinned = endpoint().signed_by(key).expect("a key");
        assert_eq!(pinned.name(), signed, "{url}");
        let begun = pinned.begin(&Terms::default());
        assert_eq!(begun.map_err(|error| error.kind()).is_ok(), signed.is_some(), "{url}");
        let told = pinned.set_name("us");
        assert_eq!(told.name(), Some("us"));
        told.begin(&Terms::default()).expect("it was told");
    }
}

#[test]
fn a_url_that_cannot_be_an_endpoint_is_refused_and_not_quoted() {
    let cases = [
        ("keys.example.com/s3cr3t", "cannot be read"),
        ("ftp://keys.example.com/s3cr3t", "neither https nor http"),
        ("https://me:s3cr3t@keys.example.com/", "password"),
        ("https://s3cr3t@keys.example.com/", "user name"),
        ("https://keys.example.com/#s3cr3t", "fragment"),
    ];
    for (url, words) in cases {
        let error = Endpoint::new(url).expect_err(words);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(words), "{shown}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}

#[test]
fn printing_shows_neither_query_nor_bootstrap() {
    let url = "https://keys.example.com/sets/eu?code=s3cr3t";
    let endpoint = Endpoint::new(url).expect("a URL").bootstrap("s3cr3t-boot");
    let shown = format!("{endpoint:?}");
    assert!(shown.contains("https://keys.example.com/sets/eu"), "{shown}");
    assert!(!shown.contains("s3cr3t"), "{shown}");
}
