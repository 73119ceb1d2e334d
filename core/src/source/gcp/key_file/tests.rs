use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use super::*;
use crate::source::wire::read;

/// Made for this test, and for nothing else.
const KEY: &str = include_str!("test_key.pem");

#[test]
fn an_assertion_is_signed_by_the_key() {
    let made = assertion(KEY, Some("k1"), "app@p.iam.gserviceaccount.com", TOKEN_URL, 1_000);
    let made = made.expect("an assertion");
    let (signed, signature) = made.rsplit_once('.').expect("three parts");
    let parts: Vec<_> = signed.split('.').map(|it| BASE64.decode(it).expect("base64")).collect();
    let [head, claims] = [0, 1].map(|at| read(&parts[at]).expect("JSON"));
    assert_eq!((text(&head, "/alg"), text(&head, "/kid")), (Some("RS256"), Some("k1")));
    assert_eq!(text(&claims, "/iss"), Some("app@p.iam.gserviceaccount.com"));
    assert_eq!((text(&claims, "/aud"), text(&claims, "/scope")), (Some(TOKEN_URL), Some(SCOPE)));
    assert!(matches!(claims.at("/exp"), Some(Value::Whole(4_600))));

    let PrivateKeyDer::Pkcs8(der) = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("PEM")
    else {
        panic!("PKCS 8")
    };
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).expect("a key");
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public());
    public
        .verify(signed.as_bytes(), &BASE64.decode(signature).expect("base64"))
        .expect("a signature that holds");
}

#[test]
fn only_link_local_addresses_are_metadata_services() {
    assert!(is_link_local("http://169.254.169.254/metadata/identity/oauth2/token?x=y"));
    for url in ["http://169.254.169.254.example.com/", "https://sts.googleapis.com", "x"] {
        assert!(!is_link_local(url), "{url}");
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
