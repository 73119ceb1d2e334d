//! Who is asked for: log-ins that end, are shared, are wrapped, or stand in a namespace.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use keyswap::{ErrorKind, source::vault::Vault};
use keyswap_source_tests::{
    api::Api,
    bao::{Bao, ROOT},
    front::Front,
    load::{Load, until},
    process::free_port,
};
use reqwest::Method;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};

use super::{follow, in_use, newest, refused, until_in_use, until_newest};

const LOGIN: &str = "POST /v1/auth/approle/login";
const RENEW: &str = "POST /v1/auth/token/renew-self";

async fn may_read_trading(bao: &Bao, role: &str, options: Value) -> (String, String) {
    let rules = [("secret/data/trading", "read"), ("secret/metadata/trading", "read")];
    bao.policy(role, &rules).await;
    bao.app_role(role, options).await
}

/// A token of 3 s that can be renewed to 6 s: it is renewed, made anew, and revoked in mid-run.
#[tokio::test]
async fn a_token_that_ends_costs_nobody_anything() {
    let (bao, api) = (Bao::start().await, Api::start().await);
    let life = json!({ "token_ttl": "3s", "token_max_ttl": "6s" });
    let (role_id, secret_id) = may_read_trading(&bao, "short", life).await;
    bao.store("k1").await;
    api.accept(["k1"]);
    let front = Front::of(bao.url()).await;
    let vault = Vault::new(front.url()).unwrap().app_role(role_id, secret_id);
    let keys = follow(vault.kv("secret", "trading").key("/api_key")).await;
    let load = Load::start(&keys, api.url(), 8);
    for number in 2..8 {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let key = format!("k{number}");
        bao.store(&key).await;
        api.accept([key]);
        until_in_use(&keys, &format!("v{number}")).await;
    }
    let (logins, renewals) = (front.asked(LOGIN), front.asked(RENEW));
    assert!((2..=4).contains(&logins) && renewals >= 2, "{logins} log-ins, {renewals} renewals");
    assert_eq!(keys.stats().counts.failed, 0, "no fetch failed");
    // Somebody revokes all tokens of this log-in.
    bao.write("sys/leases/revoke-prefix/auth/approle/login", json!({})).await;
    bao.store("k8").await;
    api.accept(["k8"]);
    until_in_use(&keys, "v8").await;
    load.end().await;
    assert_eq!(keys.stats().counts.failed, 0, "no fetch failed");
}

#[tokio::test]
async fn sixteen_handles_log_in_once_and_once_again_when_that_has_ended() {
    let bao = Bao::start().await;
    let (role_id, secret_id) = may_read_trading(&bao, "shared", json!({})).await;
    bao.store("k1").await;
    let front = Front::of(bao.url()).await;
    let vault = Vault::new(front.url()).unwrap().app_role(role_id, secret_id);
    let started = (0..16).map(|_| {
        let source = vault.clone().kv("secret", "trading");
        tokio::spawn(follow(source))
    });
    let mut keys = Vec::new();
    for handle in started.collect::<Vec<_>>() {
        keys.push(handle.await.unwrap());
    }
    assert_eq!(front.asked(LOGIN), 1);
    bao.write("sys/leases/revoke-prefix/auth/approle/login", json!({})).await;
    bao.store("k2").await;
    let all = || keys.iter().all(|keys| newest(keys) == "v2");
    until("all have the new one", Duration::from_secs(5), all).await;
    assert_eq!(front.asked(LOGIN), 2);
    assert!(keys.iter().all(|keys| keys.stats().counts.failed == 0), "no fetch failed");
}

/// A permission that is taken away, and given back by the policy or by another one of the role.
#[tokio::test]
async fn a_policy_is_told_apart_from_a_token_that_ended() {
    let bao = Bao::start().await;
    let (role_id, secret_id) = may_read_trading(&bao, "reader", json!({})).await;
    bao.store("k1").await;
    let front = Front::of(bao.url()).await;
    let vault = Vault::new(front.url()).unwrap().app_role(role_id, secret_id);
    let keys = follow(vault.kv("secret", "trading")).await;
    let leases = async || {
        let list = Method::from_bytes(b"LIST").unwrap();
        let (_, answer) = bao.call(list, "sys/leases/lookup/auth/approle/login", None).await;
        answer["data"]["keys"].as_array().map_or(0, Vec::len)
    };
    let before = leases().await;

    bao.policy("reader", &[("secret/data/other", "read")]).await;
    let error = super::next_failure(&keys).await;
    assert_eq!(error.0, ErrorKind::Forbidden, "{error:?}");
    assert!(error.1.contains("secret/trading") && error.1.contains("policy"), "{error:?}");
    assert_eq!(in_use(&keys), "v1");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(front.asked(LOGIN) >= 3, "each time it logs in once more");
    assert!(leases().await <= before + 1, "what was no better is given back");

    bao.store("k2").await;
    may_read_trading(&bao, "reader", json!({})).await;
    until_newest(&keys, "v2").await;
    // A role's policies are those of its tokens from the next log-in on.
    bao.policy("reader", &[("secret/data/other", "read")]).await;
    assert_eq!(super::next_failure(&keys).await.0, ErrorKind::Forbidden);
    may_read_trading(&bao, "another", json!({})).await;
    let both = json!({ "token_policies": "reader,another" });
    bao.write("auth/approle/role/reader", both).await;
    bao.store("k3").await;
    until_newest(&keys, "v3").await;
}

#[tokio::test]
async fn a_token_that_was_given_is_renewed_and_read_again() {
    let bao = Bao::start().await;
    may_read_trading(&bao, "reader", json!({})).await;
    bao.store("k1").await;
    let make = async |ttl: &str| {
        let made = json!({ "policies": ["reader"], "ttl": ttl, "renewable": true });
        let made = bao.write("auth/token/create", made).await;
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    };
    // Its life is shorter than a poll: who cannot log in asks in time.
    let policy = super::policy().poll(Duration::from_secs(60));
    let token = make("3s").await;
    let keys = Vault::new(bao.url()).unwrap().token(token.clone()).kv("secret", "trading");
    let keys = keyswap::KeySwap::follow(keys).policy(policy).await.unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await;
    bao.store("k2").await;
    keys.refresh().await.unwrap();
    assert_eq!(newest(&keys), "v2");

    // An agent puts another one into the file.
    let file = std::env::temp_dir().join(format!("keyswap-token-{}", std::process::id()));
    std::fs::write(&file, token.clone() + "\n").unwrap();
    let other = follow(Vault::new(bao.url()).unwrap().token_file(&file).kv("secret", "trading"));
    let other = other.await;
    bao.write("auth/token/revoke", json!({ "token": token })).await;
    let error = super::next_failure(&other).await;
    assert_eq!(error.0, ErrorKind::BootstrapRejected, "{error:?}");
    assert!(error.1.contains(&file.display().to_string()), "{error:?}");
    std::fs::write(&file, make("1h").await).unwrap();
    bao.store("k3").await;
    until_newest(&other, "v3").await;
    std::fs::remove_file(&file).unwrap();
    let error = keys.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected);
}

#[tokio::test]
async fn a_wrapped_secret_id_is_unwrapped_once() {
    let bao = Bao::start().await;
    let (role_id, _) = may_read_trading(&bao, "wrapped", json!({ "token_ttl": "2s" })).await;
    bao.store("k1").await;
    let wrap = async |method: Method, path: &str| {
        let (_, answer) = bao.call_in("", method, path, None, Some(60)).await;
        answer["wrap_info"]["token"].as_str().unwrap().to_owned()
    };
    let token = wrap(Method::POST, "auth/approle/role/wrapped/secret-id").await;
    let vault = Vault::new(bao.url()).unwrap().app_role_wrapped(&*role_id, &*token);
    let keys = follow(vault.kv("secret", "trading")).await;
    // The log-in ends several times, and what was unwrapped is kept.
    tokio::time::sleep(Duration::from_secs(3)).await;
    bao.store("k2").await;
    until_newest(&keys, "v2").await;
    assert_eq!(keys.stats().counts.failed, 0);

    let again = Vault::new(bao.url()).unwrap().app_role_wrapped(&*role_id, &*token);
    let error = refused(again.kv("secret", "trading")).await;
    assert_eq!(error.0, ErrorKind::BootstrapRejected, "{error:?}");
    assert!(error.1.contains("somebody else unwrapped it") && !error.1.contains(&token));
    let other = wrap(Method::GET, "secret/data/trading").await;
    let other = Vault::new(bao.url()).unwrap().app_role_wrapped(&*role_id, other);
    let error = refused(other.kv("secret", "trading")).await;
    assert_eq!(error.0, ErrorKind::BootstrapRejected, "{error:?}");
    assert!(error.1.contains("something else than a secret_id"), "{error:?}");
    let wrong = Vault::new(bao.url()).unwrap().app_role(&*role_id, "wrong");
    let error = refused(wrong.kv("secret", "trading")).await;
    assert_eq!(error.0, ErrorKind::BootstrapRejected, "{error:?}");
    let elsewhere = Vault::new(bao.url()).unwrap().app_role(role_id, "x").login_mount("nowhere");
    let error = refused(elsewhere.kv("secret", "trading")).await;
    assert!(error.1.contains("login_mount"), "{error:?}");
}

#[tokio::test]
async fn a_namespace_has_its_own_secrets_and_log_ins() {
    let bao = Bao::start().await;
    bao.write("sys/namespaces/team", json!({})).await;
    let write = async |path: &str, body: Value| {
        let (status, answer) = bao.call_in("team", Method::POST, path, Some(body), None).await;
        assert!(matches!(status, 200 | 204), "{path}: {status} {answer}");
        answer
    };
    write("sys/mounts/secret", json!({ "type": "kv", "options": { "version": "2" } })).await;
    write("sys/auth/approle", json!({ "type": "approle" })).await;
    let rule = r#"path "secret/*" { capabilities = ["read"] }"#;
    write("sys/policies/acl/all", json!({ "policy": rule })).await;
    let role = "auth/approle/role/app";
    write(role, json!({ "token_policies": "all" })).await;
    let secret_id = write(&format!("{role}/secret-id"), json!({})).await;
    let secret_id = secret_id["data"]["secret_id"].as_str().unwrap();
    let (_, role_id) =
        bao.call_in("team", Method::GET, &format!("{role}/role-id"), None, None).await;
    let role_id = role_id["data"]["role_id"].as_str().unwrap();
    write("secret/data/trading", json!({ "data": { "key": "of the team" } })).await;
    bao.store("of nobody").await;

    let vault = Vault::new(bao.url()).unwrap().app_role(role_id, secret_id).namespace("team");
    let keys = follow(vault.kv("secret", "trading")).await;
    assert_eq!(keys.current().unwrap().reveal("key"), Some("of the team"));
    let root = Vault::new(bao.url()).unwrap().token(ROOT);
    let keys = follow(root.kv("team/secret", "trading")).await;
    assert_eq!(keys.current().unwrap().reveal("key"), Some("of the team"));
    let outside = Vault::new(bao.url()).unwrap().app_role(role_id, secret_id);
    let error = refused(outside.kv("secret", "trading")).await;
    assert_eq!(error.0, ErrorKind::BootstrapRejected, "{error:?}");
}

/// A key that signs JWTs, and its public half as the server is told it.
struct Issuer(EcdsaKeyPair, SystemRandom);

impl Issuer {
    fn new() -> Self {
        let (random, form) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(form, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(form, key.as_ref(), &random).unwrap(), random)
    }

    fn public(&self) -> String {
        // What stands before a point of P-256 in a SubjectPublicKeyInfo.
        let mut der = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00".to_vec();
        der.extend(self.0.public_key().as_ref());
        let text = base64::prelude::BASE64_STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    fn sign(&self, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": "ES256", "typ": "JWT" })), part(claims));
        let signature = self.0.sign(&self.1, signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64URL.encode(signature))
    }
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

#[tokio::test]
async fn a_signed_token_logs_in_and_so_does_a_pod() {
    let (bao, issuer) = (Bao::start().await, Issuer::new());
    may_read_trading(&bao, "signed", json!({})).await;
    bao.store("k1").await;
    bao.write("sys/auth/jwt", json!({ "type": "jwt" })).await;
    bao.write("auth/jwt/config", json!({ "jwt_validation_pubkeys": [issuer.public()] })).await;
    let role = json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": "bao",
        "token_policies": "signed", "token_ttl": "2s",
    });
    bao.write("auth/jwt/role/app", role).await;
    let token = |end: u64| {
        issuer.sign(&json!({ "sub": "me", "aud": "bao", "iat": now() - 90, "exp": end }))
    };
    // It is written anew while the program runs, as by SPIFFE or a CI job's host.
    let file = std::env::temp_dir().join(format!("keyswap-jwt-{}", std::process::id()));
    std::fs::write(&file, token(now() + 600)).unwrap();
    let vault = Vault::new(bao.url()).unwrap();
    let keys = follow(vault.clone().jwt_file("app", &file).kv("secret", "trading")).await;
    assert_eq!(in_use(&keys), "v1");
    std::fs::remove_file(&file).unwrap();
    let ended = refused(vault.clone().jwt("app", token(now() - 600)).kv("secret", "trading")).await;
    assert_eq!(ended.0, ErrorKind::BootstrapRejected, "{ended:?}");

    // A pod's token is shown to Kubernetes, which says whose it is.
    let port = free_port();
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "status": { "authenticated": true, "audiences": [], "user": {
            "username": "system:serviceaccount:default:app", "uid": "1",
            "groups": ["system:serviceaccounts"] } },
    });
    tokio::spawn(answer_all(port, review.to_string()));
    let authority = rcgen::generate_simple_self_signed(vec!["kubernetes".into()]).unwrap();
    bao.write("sys/auth/kubernetes", json!({ "type": "kubernetes" })).await;
    let cluster = json!({
        "kubernetes_host": format!("http://127.0.0.1:{port}"),
        "kubernetes_ca_cert": authority.cert.pem(), "disable_local_ca_jwt": true,
        "token_reviewer_jwt": token(now() + 600),
    });
    bao.write("auth/kubernetes/config", cluster).await;
    let role = json!({
        "bound_service_account_names": "app", "bound_service_account_namespaces": "default",
        "token_policies": "signed",
    });
    bao.write("auth/kubernetes/role/app", role).await;
    let pod = json!({
        "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:app",
        "iat": now() - 5, "nbf": now() - 5, "exp": now() + 600,
        "kubernetes.io": { "namespace": "default",
            "serviceaccount": { "name": "app", "uid": "1" } },
    });
    std::fs::write(&file, issuer.sign(&pod)).unwrap();
    let keys = follow(vault.kubernetes_file("app", &file).kv("secret", "trading")).await;
    assert_eq!(in_use(&keys), "v1");
    std::fs::remove_file(&file).unwrap();
}

/// Answers each request with this.
async fn answer_all(port: u16, body: String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 16 * 1024];
        _ = stream.read(&mut request).await;
        let head = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nconnection: close";
        let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        _ = stream.write_all(answer.as_bytes()).await;
    }
}
