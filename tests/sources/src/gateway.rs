//! Gateways that look at keys, in front of an API that does not know them.

use std::{fmt::Write as _, time::Duration};

use crate::{
    api::Api,
    folder::Folder,
    process::{Process, command, free_port, until_answers},
};

/// The key with which the gateway itself asks the API.
const OWN: &str = "of-the-gateway";

/// What a gateway is told when other keys are valid.
pub trait Gateway {
    /// Where it is.
    fn url(&self) -> String;
    /// From now on these keys are valid, and no others. It may take a moment.
    fn accept(&self, keys: &[&str]);
}

/// nginx: a `map` of keys, and a reload.
pub struct Nginx {
    process: Process,
    folder: Folder,
    port: u16,
    api: String,
    /// The variable that holds the key.
    variable: &'static str,
    options: &'static str,
}

impl Nginx {
    /// One that reads the key from this variable, such as `$http_authorization`, and knows none yet.
    pub async fn start(api: &Api, variable: &'static str, options: &'static str) -> Self {
        api.accept([OWN]);
        let (folder, port) = (Folder::new("nginx"), free_port());
        let arguments = ["-c".into(), folder.file("nginx.conf"), "-p".into(), folder.file("")];
        folder.replace("nginx.conf", &configuration(port, api.url(), variable, options, &[]));
        let process = Process::start(&format!("nginx-{port}"), &mut command("nginx", arguments));
        let nginx = Self { process, folder, port, api: api.url().to_owned(), variable, options };
        until_answers(&nginx.url(), Duration::from_secs(20)).await;
        nginx
    }
}

impl Gateway for Nginx {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn accept(&self, keys: &[&str]) {
        let conf = configuration(self.port, &self.api, self.variable, self.options, keys);
        self.folder.replace("nginx.conf", &conf);
        self.process.signal(libc::SIGHUP);
    }
}

fn configuration(port: u16, api: &str, variable: &str, options: &str, keys: &[&str]) -> String {
    let mut known = String::new();
    for key in keys {
        let _ = writeln!(known, "\"{key}\" 1; \"Bearer {key}\" 1;");
    }
    format!(
        "daemon off; pid nginx.pid; error_log stderr; worker_processes 1;
        events {{ worker_connections 512; }}
        http {{
            access_log off; {options}
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            map {variable} $is_known {{ default 0; {known} }}
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    if ($is_known = 0) {{ return 401; }}
                    proxy_set_header Authorization \"Bearer {OWN}\";
                    proxy_pass {api};
                }}
            }}
        }}"
    )
}

/// Envoy: its filter `api_key_auth`, and a listener in a file that it watches.
pub struct Envoy {
    _process: Process,
    folder: Folder,
    port: u16,
}

impl Envoy {
    /// One that knows no key yet.
    pub async fn start(api: &Api) -> Self {
        api.accept([OWN]);
        let (folder, port) = (Folder::new("envoy"), free_port());
        let api = api.url().rsplit(':').next().expect("a port");
        let bootstrap = format!(
            r#"{{"node": {{"id": "gateway", "cluster": "gateways"}},
            "dynamic_resources": {{"lds_config": {{"path_config_source": {{"path": "{}"}}}}}},
            "static_resources": {{"clusters": [{{"name": "api", "connect_timeout": "1s", "load_assignment":
                {{"cluster_name": "api", "endpoints": [{{"lb_endpoints": [{{"endpoint": {{"address":
                {{"socket_address": {{"address": "127.0.0.1", "port_value": {api}}}}}}}}}]}}]}}}}]}}}}"#,
            folder.file("listeners.json")
        );
        folder.replace("envoy.json", &bootstrap);
        folder.replace("listeners.json", &listeners(port, &["none"]));
        let arguments = [
            "-c",
            &folder.file("envoy.json"),
            "--concurrency",
            "1",
            "--disable-hot-restart",
            // Connections to the listener that is replaced end with their next answer, and not in its midst.
            "--drain-strategy",
            "immediate",
            "--drain-time-s",
            "2",
            "--log-level",
            "warning",
        ];
        let process = Process::start(&format!("envoy-{port}"), &mut command("envoy", arguments));
        let envoy = Self { _process: process, folder, port };
        until_answers(&envoy.url(), Duration::from_secs(30)).await;
        envoy
    }
}

impl Gateway for Envoy {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn accept(&self, keys: &[&str]) {
        self.folder.replace("listeners.json", &listeners(self.port, keys));
    }
}

fn listeners(port: u16, keys: &[&str]) -> String {
    let typed = "type.googleapis.com/envoy.extensions.filters";
    let known: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| format!(r#"{{"key": "{key}", "client": "client-{at}"}}"#))
        .collect();
    format!(
        r#"{{"resources": [{{"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "keys",
        "address": {{"socket_address": {{"address": "127.0.0.1", "port_value": {port}}}}},
        "filter_chains": [{{"filters": [{{"name": "http", "typed_config": {{
            "@type": "{typed}.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "http",
            "http_filters": [
                {{"name": "keys", "typed_config": {{"@type": "{typed}.http.api_key_auth.v3.ApiKeyAuth",
                    "credentials": [{}], "key_sources": [{{"header": "Authorization"}}]}}}},
                {{"name": "router", "typed_config": {{"@type": "{typed}.http.router.v3.Router"}}}}],
            "route_config": {{"virtual_hosts": [{{"name": "api", "domains": ["*"], "routes": [{{
                "match": {{"prefix": "/"}}, "route": {{"cluster": "api"}},
                "request_headers_to_add": [{{"header": {{"key": "Authorization", "value": "Bearer {OWN}"}},
                    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}]}}]}}]}}}}}}]}}]}}]}}"#,
        known.join(", ")
    )
}
