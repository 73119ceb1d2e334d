//! Keycloak, with clients whose secrets are rotated.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::process::{Process, client, command, free_port, until_answers};

/// The realm that all is in.
const REALM: &str = "t";

/// It. To start takes from a quarter of a minute to some minutes, most of it when it is the first time.
pub struct Keycloak {
    url: String,
    http: Client,
    _process: Process,
}

impl Keycloak {
    /// Starts one with a realm whose tokens live for so many seconds, and whose secrets are rotated with a grace.
    pub async fn start(lives: u32) -> Self {
        let port = free_port();
        let mut command = command("kc.sh", ["start-dev", "--db=dev-mem"]);
        command
            .args(["--http-host=127.0.0.1", &format!("--http-port={port}")])
            .arg("--features=client-secret-rotation")
            .env("JAVA_OPTS_APPEND", "-XX:TieredStopAtLevel=1")
            .envs([
                ("KC_BOOTSTRAP_ADMIN_USERNAME", "admin"),
                ("KC_BOOTSTRAP_ADMIN_PASSWORD", "admin"),
            ]);
        let process = Process::start("keycloak", &mut command);
        let url = format!("http://127.0.0.1:{port}");
        let server = Self { url, http: client(), _process: process };
        until_answers(&server.url("/realms/master"), Duration::from_secs(300)).await;
        let realm = json!({"realm": REALM, "enabled": true, "accessTokenLifespan": lives});
        server.admin(Method::POST, "/admin/realms", Some(realm)).await;
        let executor = json!({"executor": "secret-rotation", "configuration": {
            "expiration-period": 1000, "rotated-expiration-period": 500, "remaining-rotation-period": 100,
        }});
        let profiles = json!({"profiles": [{"name": "rotated", "executors": [executor]}]});
        server.realm(Method::PUT, "/client-policies/profiles", Some(profiles)).await;
        let condition = json!({"condition": "any-client", "configuration": {}});
        let policy = json!({
            "name": "rotated", "enabled": true, "conditions": [condition], "profiles": ["rotated"],
        });
        let policies = json!({"policies": [policy]});
        server.realm(Method::PUT, "/client-policies/policies", Some(policies)).await;
        server
    }

    /// Where something of it is.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Where tokens are asked for.
    pub fn token_url(&self) -> String {
        self.url(&format!("/realms/{REALM}/protocol/openid-connect/token"))
    }

    /// Where the secret of a client is read.
    pub fn secret_url(&self, client: &str) -> String {
        self.url(&format!("/admin/realms/{REALM}/clients/{client}/client-secret"))
    }

    /// Makes a client that may ask for tokens of its own, for the client `api`, and returns its number.
    pub async fn client(&self, id: &str, secret: &str) -> String {
        let audience = json!({
            "name": "api", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
            "config": {"included.client.audience": "api", "access.token.claim": "true"},
        });
        let client = json!({
            "clientId": id, "secret": secret, "publicClient": false,
            "serviceAccountsEnabled": true, "standardFlowEnabled": false,
            "protocolMappers": [audience],
        });
        self.realm(Method::POST, "/clients", Some(client)).await;
        self.number_of(id).await
    }

    async fn number_of(&self, id: &str) -> String {
        let found = self.realm(Method::GET, &format!("/clients?clientId={id}"), None).await;
        found[0]["id"].as_str().expect("a client").to_owned()
    }

    /// Lets a client read the secrets of others.
    pub async fn let_read_secrets(&self, client: &str) {
        let path = format!("/clients/{client}/service-account-user");
        let user = self.realm(Method::GET, &path, None).await;
        let user = user["id"].as_str().expect("a user").to_owned();
        let of = self.number_of("realm-management").await;
        let mut roles = Vec::new();
        for role in ["view-clients", "manage-clients"] {
            roles.push(self.realm(Method::GET, &format!("/clients/{of}/roles/{role}"), None).await);
        }
        let path = format!("/users/{user}/role-mappings/clients/{of}");
        self.realm(Method::POST, &path, Some(roles.into())).await;
    }

    /// Gives a client another secret. The one before works on, for as long as the grace lasts.
    pub async fn rotate(&self, client: &str) -> String {
        let path = format!("/clients/{client}/client-secret");
        let secret = self.realm(Method::POST, &path, None).await;
        secret["value"].as_str().expect("a secret").to_owned()
    }

    /// Ends the grace of the secret before.
    pub async fn end_grace(&self, client: &str) {
        let path = format!("/clients/{client}/client-secret/rotated");
        self.realm(Method::DELETE, &path, None).await;
    }

    /// The status with which this secret is answered.
    pub async fn try_secret(&self, id: &str, secret: &str) -> u16 {
        let form = "grant_type=client_credentials";
        let request = self.http.post(self.token_url()).basic_auth(id, Some(secret));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(form).send().await.expect("an answer").status().as_u16()
    }

    async fn realm(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        self.admin(method, &format!("/admin/realms/{REALM}{path}"), body).await
    }

    async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let form = "grant_type=password&client_id=admin-cli&username=admin&password=admin";
        let token = self.http.post(self.url("/realms/master/protocol/openid-connect/token"));
        let token = token.header("content-type", "application/x-www-form-urlencoded").body(form);
        let token: Value = token.send().await.expect("an answer").json().await.expect("JSON");
        let token = token["access_token"].as_str().expect("a token");
        let mut request = self.http.request(method, self.url(path)).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }
}
