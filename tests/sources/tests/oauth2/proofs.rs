//! How a client proves who it is, to a server that looks at each of these closely.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use keyswap::{
    Credential, CredentialSet, ErrorKind, KeySwap, source, source::oauth2::ClientCredentials,
};
use keyswap_source_tests::{load::Load, node::NodeServer};
use serde_json::{Value, json};

use crate::{folder, short};

const API: &str = "https://api.example.com/";
/// What a client's secret may consist of, and an encoding may get wrong.
const SECRET: &str = "p%ss:w+rd &=?/~!\"'()";

/// Runs openssl, which is what people make keys with.
fn openssl(folder: &Path, arguments: &str) -> PathBuf {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .output()
        .expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.to_owned()
}

fn text(path: PathBuf) -> String {
    std::fs::read_to_string(path).expect("a file")
}

fn client(id: &str, method: &str, more: Value) -> Value {
    let mut client = json!({
        "client_id": id, "token_endpoint_auth_method": method,
        "grant_types": ["client_credentials"], "redirect_uris": [], "response_types": [],
    });
    client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client
}

fn at(server: &NodeServer, id: &str) -> ClientCredentials {
    let tokens = ClientCredentials::new(server.url("/token")).expect("a URL");
    tokens.client_id(id).resource(API).scopes(["read"])
}

/// The API takes the token that this brings.
async fn opens(server: &NodeServer, tokens: ClientCredentials) {
    let shown = format!("{tokens:?}");
    let keys = KeySwap::follow(tokens).policy(short()).await;
    let keys = keys.unwrap_or_else(|error| panic!("{shown}: {error}"));
    let token = keys.current().unwrap().to_owned();
    assert_eq!(server.get("/api/", token.reveal("key").unwrap()).await, 200, "{shown}");
    assert_eq!(token.scopes().join(" "), "read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_any_letters_and_keys_of_each_kind_are_accepted() {
    let server = NodeServer::start("oidc_provider", &[]).await;
    let folder = folder("proofs");
    openssl(&folder, "ecparam -name prime256v1 -genkey -noout -out sec1.pem");
    openssl(&folder, "pkcs8 -topk8 -nocrypt -in sec1.pem -out ec.pem");
    openssl(&folder, "genrsa -traditional -out pkcs1.pem 2048");
    openssl(&folder, "pkcs8 -topk8 -nocrypt -in pkcs1.pem -out rsa.pem");
    openssl(&folder, "genpkey -algorithm ed25519 -out ed.pem");
    let key = |name: &str, id: &str, alg: &str| {
        openssl(&folder, &format!("pkey -in {name}.pem -pubout -out {name}.pub"));
        let pem = text(folder.join(format!("{name}.pub")));
        client(id, "private_key_jwt", json!({"pem": pem, "kid": "k1", "alg": alg}))
    };
    let clients = json!([
        client("basic:1", "client_secret_basic", json!({"client_secret": SECRET})),
        client("post", "client_secret_post", json!({"client_secret": SECRET})),
        key("ec", "ec", "ES256"),
        key("rsa", "rsa", "RS256"),
        key("ed", "ed", "EdDSA"),
    ]);
    server.control(&json!({"clients": clients})).await;
    opens(&server, at(&server, "basic:1").client_secret(SECRET)).await;
    opens(&server, at(&server, "post").client_secret(SECRET).auth_style("post")).await;
    for (id, alg, forms) in [
        ("ec", "ES256", &["ec.pem", "sec1.pem"][..]),
        ("rsa", "RS256", &["rsa.pem", "pkcs1.pem"]),
        ("ed", "EdDSA", &["ed.pem"]),
    ] {
        for form in forms {
            let path = folder.join(form);
            opens(&server, at(&server, id).private_key_jwt("k1", text(path.clone()), alg)).await;
            opens(&server, at(&server, id).private_key_jwt_file("k1", path, alg)).await;
        }
    }
    // What is lent may bring the id along, and the key may be lent, too.
    let whole = Credential::bare("v1")
        .with_material("client_id", "basic:1")
        .with_material("client_secret", SECRET);
    let lent = [whole, Credential::new("k1", text(folder.join("ec.pem")))].map(|it| {
        let set = CredentialSet::new(it);
        KeySwap::follow(source::from_fn(move || std::future::ready(Ok(set.clone()))))
    });
    let [whole, key] = lent;
    let (whole, key) = (whole.await.expect("a secret"), key.await.expect("a key"));
    let bare = ClientCredentials::new(server.url("/token")).unwrap().resource(API).scopes(["read"]);
    opens(&server, bare.client_secret_from(&whole)).await;
    opens(&server, at(&server, "ec").private_key_jwt_from(&key, "ES256")).await;

    // One that is no key is passed over.
    let broken = CredentialSet::new(Credential::new("k2", "no PEM"));
    let broken = broken.with_previous(Credential::new("k1", text(folder.join("ec.pem"))));
    let read = move || std::future::ready(Ok(broken.clone()));
    let broken = KeySwap::follow(source::from_fn(read)).await.expect("keys");
    opens(&server, at(&server, "ec").private_key_jwt_from(&broken, "ES256")).await;

    let wrong = at(&server, "ec").private_key_jwt("k1", text(folder.join("rsa.pem")), "RS256");
    let error = KeySwap::follow(wrong).await.expect_err("another key");
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected, "{error}");
    let wrong = at(&server, "post").client_secret(SECRET).auth_style("post").resource("https://x");
    let error = KeySwap::follow(wrong).await.expect_err("another resource");
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_proof() {
    let folder = folder("mtls");
    let request = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for (name, subject) in [("ca", "/CN=authority"), ("server", "/CN=server"), ("bot", "/CN=bot")] {
        let is_ca = if name == "ca" { "-x509 -days 2" } else { "" };
        let arguments =
            format!("{request} {is_ca} -keyout {name}.key -out {name}.req -subj {subject}");
        openssl(&folder, &arguments);
    }
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
    for name in ["server", "bot"] {
        let sign = "x509 -req -days 2 -CA ca.req -CAkey ca.key -CAcreateserial -extfile names";
        openssl(&folder, &format!("{sign} -in {name}.req -out {name}.pem"));
    }
    let paths = ["server.pem", "server.key", "ca.req"].map(|name| folder.join(name));
    let server = NodeServer::start("oidc_provider", &paths.each_ref().map(|it| &**it)).await;
    let bot = client("bot", "tls_client_auth", json!({"tls_client_auth_subject_dn": "bot"}));
    server.control(&json!({"clients": [bot]})).await;
    let pem = text(folder.join("bot.pem")) + &text(folder.join("bot.key"));
    let authority = text(folder.join("ca.req"));
    let trusting = || at(&server, "bot").root_certificates(authority.as_bytes()).expect("a root");
    opens(&server, trusting().client_certificate(pem.as_bytes()).expect("an identity")).await;
    let file = folder.join("both.pem");
    std::fs::write(&file, &pem).unwrap();
    opens(&server, trusting().client_certificate_file(file)).await;
    // Another one of the same authority is not this client.
    let other = text(folder.join("server.pem")) + &text(folder.join("server.key"));
    let other = trusting().client_certificate(other.as_bytes()).expect("an identity");
    let error = KeySwap::follow(other).await.expect_err("another certificate");
    assert_eq!(error.kind(), ErrorKind::BootstrapRejected, "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_api_forgets_is_replaced() {
    let server = NodeServer::start("oidc_provider", &[]).await;
    let bot = client("bot", "client_secret_basic", json!({"client_secret": "s1"}));
    server.control(&json!({"clients": [bot], "ttl": 5})).await;
    let keys = KeySwap::follow(at(&server, "bot").client_secret("s1")).policy(short());
    let keys = keys.await.expect("a token");
    let load = Load::start(&keys, &server.url("/api"), 10);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let token = keys.current().unwrap().to_owned();
        server.get("/forget", token.reveal("key").unwrap()).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(keys.stats().counts.rejections > 0, "the API rejected what it had forgotten");
    load.end().await;
}
