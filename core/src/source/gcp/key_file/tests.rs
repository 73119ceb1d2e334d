use super::*;

#[test]
fn only_link_local_addresses_are_metadata_services() {
    assert!(is_link_local("http://169.254.169.254/metadata/identity/oauth2/token?x=y"));
    for url in ["http://169.254.169.254.example.com/", "https://sts.googleapis.com", "x"] {
        assert!(!is_link_local(url), "{url}");
    }
}

/// One that is signed is judged by Google's own library, in the tests of sources.
#[test]
fn a_key_that_is_none_signs_nothing() {
    for odd in ["", "s3cr3t", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        assert!(assertion(odd, None, "app@p.iam.gserviceaccount.com", TOKEN_URL, 1_000).is_none());
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_named_and_not_quoted() {
    for (content, named) in [
        ("s3cr3t", "not JSON"),
        (r#"{"type": "s3cr3t"}"#, "type"),
        (
            r#"{"type": "service_account", "private_key": "s3cr3t", "client_email": "x"}"#,
            "private_key",
        ),
        (r#"{"type": "service_account", "client_email": "s3cr3t"}"#, "private_key"),
        (r#"{"type": "authorized_user", "client_secret": "s3cr3t"}"#, "client_id"),
        (
            r#"{"type": "external_account", "credential_source": {"environment_id": "s3cr3t"}}"#,
            "credential_source",
        ),
        (r#"{"type": "impersonated_service_account"}"#, "source_credentials"),
    ] {
        let wait = Duration::from_secs(1);
        let error = log_in("/key.json", content.as_bytes(), wait, &Reader::new()).await;
        let error = error.err().expect(content);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{content}");
        let told = error.to_string();
        assert!(told.contains("/key.json") && told.contains(named), "{told}");
        assert!(!told.contains("s3cr3t"), "{told}");
    }
}
