//! What AWS itself says, in its own words, by a server of ours: moto has another dialect, and looks at no clock.

use std::{
    future::ready,
    sync::atomic::{AtomicUsize, Ordering},
};

use keyswap::{
    Credential, CredentialSet, ErrorKind,
    source::{
        Fetched, Source,
        aws::{ParameterStore, SecretsManager},
    },
};
use keyswap_source_tests::aws::{Stub, error};

use crate::{REGION, refused, world::World};

fn secret(fake: &Stub) -> SecretsManager {
    SecretsManager::new("prod/trading").region(REGION).endpoint_url(fake.url()).credentials(
        "AKID",
        "s3cr3t",
        Some("s3cr3t-session".into()),
    )
}

#[tokio::test]
async fn each_code_has_its_kind_and_says_what_to_do() {
    use ErrorKind::*;
    let cases = [
        (400, "UnrecognizedClientException", BootstrapRejected, "deleted or deactivated"),
        (403, "InvalidClientTokenId", BootstrapRejected, "deleted or deactivated"),
        (
            403,
            "com.amazon.coral.service#InvalidSignatureException",
            BootstrapRejected,
            "secret is whole",
        ),
        (400, "IncompleteSignature", BootstrapRejected, "secret is whole"),
        (400, "ExpiredTokenException", BootstrapRejected, "has ended: log in again"),
        (400, "RequestExpired", BootstrapRejected, "set the clock"),
        (400, "AccessDeniedException", Forbidden, "kms:Decrypt"),
        (400, "ResourceNotFoundException", UnknownSet, "in eu-west-1: check its name"),
        (400, "InvalidRequestException", UnknownSet, "restore it"),
        (400, "DecryptionFailure", Forbidden, "KMS key is enabled"),
        (400, "InvalidParameterException", InvalidConfig, "for no name of a secret"),
        (400, "ThrottlingException", Throttled, "fewer requests"),
        (500, "InternalServiceError", Unavailable, "asked again"),
        (503, "nobody-knows", Unavailable, "asked again"),
        (418, "nobody-knows", Malformed, "check the URL"),
    ];
    for (status, code, kind, words) in cases {
        let fake = Stub::start(move |_| error(status, code)).await;
        let (found, text) = refused(secret(&fake)).await;
        assert_eq!(found, kind, "{code}: {text}");
        assert!(text.contains(words), "{code}: {text}");
        assert!(text.contains("AWS Secrets Manager at http://127.0.0.1"), "{text}");
        assert!(!text.contains("s3cr3t"), "{text}");
    }
    for (code, kind) in [
        ("ParameterNotFound", UnknownSet),
        ("InvalidKeyId", Forbidden),
        ("ThrottlingException", Throttled),
        ("ValidationException", InvalidConfig),
    ] {
        let fake = Stub::start(move |_| error(400, code)).await;
        let source = ParameterStore::new("/prod/key").region(REGION).endpoint_url(fake.url());
        let (found, text) = refused(source.credentials("AKID", "s3cr3t", None)).await;
        assert_eq!(found, kind, "{code}: {text}");
        assert!(text.contains("the AWS Parameter Store at"), "{text}");
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named() {
    let fake = Stub::start(|_| {
        error(403, "InvalidSignatureException").with("date", "Fri, 01 Jan 2016 00:00:00 GMT")
    });
    let fake = fake.await;
    let (kind, text) = refused(secret(&fake)).await;
    assert_eq!(kind, ErrorKind::BootstrapRejected);
    assert!(
        text.contains("clock of this machine is") && text.contains("min ahead: set it"),
        "{text}"
    );
}

/// One that AWS does not take is looked for anew, once a fetch; one that is still the same is not sent again.
#[tokio::test]
async fn a_log_in_that_is_rejected_is_looked_for_once() {
    let fake = Stub::start(|asked| match &*asked.signed_by {
        "AKID2" if asked.action == "DescribeSecret" => error(400, "AccessDeniedException"),
        _ => error(403, "UnrecognizedClientException"),
    });
    let fake = fake.await;
    let same = secret(&fake);
    assert!(same.fetch(None).await.is_err());
    assert_eq!(fake.asked().len(), 1, "the same again would be rejected again");
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let changing = secret(&fake).credentials_fn(|| {
        let call = CALLS.fetch_add(1, Ordering::SeqCst) + 1;
        let id = if call == 1 { "AKID1" } else { "AKID3" };
        ready(Ok(Credential::new("a", id).with_material("secret", "x")))
    });
    let error = changing.fetch(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected);
    let signed: Vec<_> = fake.asked().iter().map(|asked| asked.signed_by.clone()).collect();
    assert_eq!((signed, CALLS.load(Ordering::SeqCst)), (vec!["AKID1".into(), "AKID3".into()], 2));
}

fn set(fetched: Fetched) -> CredentialSet {
    match fetched {
        Fetched::Set(set) => set,
        other => panic!("{other:?}"),
    }
}

/// A poll reads no values; a rotation reads two, each by its version and its stage; a rejection reads all anew.
#[tokio::test]
async fn values_are_read_only_when_something_changed() {
    let world = World::new(&["k1", "k2"]);
    let fake = world.serve().await;
    let source = secret(&fake);
    let actions = || {
        let asked = fake.asked();
        asked.iter().map(|asked| format!("{} {}", asked.action, asked.stage())).collect::<Vec<_>>()
    };
    let whole = ["DescribeSecret ", "GetSecretValue AWSCURRENT", "GetSecretValue AWSPREVIOUS"];
    let first = set(source.fetch(None).await.unwrap());
    assert_eq!(actions(), whole);
    assert_eq!(first.previous().len(), 1);
    assert!(matches!(source.fetch(Some(&first)).await.unwrap(), Fetched::NotModified));
    assert_eq!(actions(), ["DescribeSecret "]);
    world.rotate("k3");
    let second = set(source.fetch(Some(&first)).await.unwrap());
    assert_eq!(second.primary().unwrap().reveal("key"), Some("k3"));
    let asked = fake.asked();
    assert!(asked.iter().skip(1).all(|asked| !asked.json("VersionId").is_empty()));
    assert!(asked.iter().all(|asked| asked.has_session));
    // What the engine hands back after a rejection has no validator.
    let rejected = CredentialSet::new(second.primary().unwrap().clone());
    set(source.fetch(Some(&rejected)).await.unwrap());
    assert_eq!(actions(), whole);

    let parameter = ParameterStore::new("/prod/key").region(REGION).endpoint_url(fake.url());
    let parameter = parameter.credentials("AKID", "x", None);
    let first = set(parameter.fetch(None).await.unwrap());
    assert_eq!((fake.asked().len(), first.previous().len()), (2, 1));
    assert!(matches!(parameter.fetch(Some(&first)).await.unwrap(), Fetched::NotModified));
    assert_eq!(fake.asked().len(), 1);
}

/// What moves between two reads is read anew, and is one state in the end.
#[tokio::test]
async fn a_secret_that_moves_while_it_is_read_is_never_torn() {
    let world = World::new(&["k1", "k2"]);
    let reads = AtomicUsize::new(0);
    // It rotates in front of the read of AWSPREVIOUS: what is there is not what was described.
    let fake = Stub::start(move |asked| {
        if asked.stage() == "AWSPREVIOUS" && reads.fetch_add(1, Ordering::SeqCst) == 0 {
            world.rotate("k3");
        }
        world.answer(asked)
    });
    let fake = fake.await;
    let found = set(secret(&fake).fetch(None).await.unwrap());
    let keys: Vec<_> = std::iter::once(found.primary().unwrap()).chain(found.previous()).collect();
    let keys: Vec<_> = keys.iter().map(|key| key.reveal("key").unwrap()).collect();
    assert_eq!(keys, ["k3", "k2"]);
}
