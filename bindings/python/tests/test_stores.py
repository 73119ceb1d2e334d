"""Sources for keys that stand elsewhere: any JSON endpoint, a command, and stores."""

import inspect
import json
import os
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, World, python, wait_until

import keyswap
from keyswap import _native, _sources

FETCH = """
import json, os, sys, urllib.request
asked = urllib.request.Request(sys.argv[1], headers={"authorization": "Bearer " + os.environ["TOKEN"]})
current = json.load(urllib.request.urlopen(asked))["current"]
print(json.dumps({"current": {"id": current["id"], "key": current["material"]["key"]}}))
"""


def of_json(world: World) -> keyswap.Source:
    """The endpoint's documents are JSON as any other."""
    return keyswap.Json(
        world.set_url,
        within="/current",
        key="/material/key",
        id="/id",
        expires_at="/expires_at",
        previous="/previous",
        headers={"x-team": "trading"},
        bootstrap=lambda: world.bootstrap,
    )


def of_command(world: World) -> keyswap.Source:
    argv = [sys.executable, "-c", FETCH, world.set_url]
    return keyswap.Command(argv, env={"TOKEN": world.bootstrap}, timeout=8)


def test_a_file_stands_in_for_a_store_until_that_works(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("of the file")
    is_down = True

    def store() -> dict[str, Any]:
        if is_down:
            raise OSError("the store is down")
        return {"current": {"id": "k2", "key": "of the store"}}

    with keyswap.KeySwap(keyswap.FirstOf(store, keyswap.File(file)), policy=FAST) as keys:
        keys.ready(10)
        assert keys.key() == "of the file"
        is_down = False
        keys.refresh()
        assert keys.key() == "of the store"
        is_down = True
        with pytest.raises(keyswap.SourceFailedError):
            keys.refresh()
        assert keys.key() == "of the store", "it is good, and the file is not asked"
    with pytest.raises(keyswap.InvalidConfigError, match="one source at least"):
        keyswap.FirstOf()
    with pytest.raises(keyswap.InvalidConfigError):
        keyswap.FirstOf("no URL", keyswap.File(file))


@pytest.mark.parametrize("source", [of_json, of_command])
def test_no_request_fails_when_the_key_rotates(world: World, source: Any) -> None:
    keys = keyswap.KeySwap(source(world), policy=FAST)
    keys.ready(10)
    with world.client(keys) as api:
        for rotation in range(3):
            wait_until(lambda rotation=rotation: keys.current.id == f"k{rotation + 1}")
            for _ in range(3):
                assert api.get("/v1/price").status_code == 200
            world.do("cut")
            assert api.get("/v1/price").status_code == 200
    assert keys.stats.rejections > 0
    keys.close()


def test_what_is_wrong_is_told_at_once_and_shows_nothing(tmp_path: Path) -> None:
    url = "https://keys.example.com/trading"
    for made in (
        lambda: keyswap.Json("keys.example.com"),
        lambda: keyswap.Json(url, key="api_key"),
        lambda: keyswap.Json(url, headers={"a b": "s3cr3t"}),
        lambda: keyswap.Json(url, bootstrap="s3cr3t", bootstrap_file=tmp_path),
        lambda: keyswap.Json(url, bootstrap="s3cr3t", bootstrap_header="x", bootstrap_basic=True),
        lambda: keyswap.Json(url, regions=[keyswap.Endpoint(url)]),  # type: ignore[list-item]
        lambda: keyswap.Command([]),
        lambda: keyswap.Command("op read s3cr3t"),
        lambda: keyswap.Command(["op"], env={"A=B": "s3cr3t"}),
    ):
        with pytest.raises(keyswap.InvalidConfigError) as caught:
            made()
        assert "s3cr3t" not in f"{caught.value!r}"
    shown = repr(keyswap.Command(["op", "s3cr3t"], env={"TOKEN": "s3cr3t"}))
    shown += repr(keyswap.Json(url, regions=[keyswap.Json(url, bootstrap="s3cr3t", body="s3cr3t")]))
    assert "s3cr3t" not in shown and "op" in shown


def test_a_command_that_is_not_there_says_so() -> None:
    with keyswap.KeySwap(keyswap.Command(["keyswap-no-such-program"])) as keys:
        with pytest.raises(keyswap.InvalidConfigError, match="was not found: install it"):
            keys.ready(10)


# ---- stores ----

CLASSES = [
    value
    for value in vars(_sources).values()
    if isinstance(value, type) and issubclass(value, _native.Source)
]
AWS = {"region_name": "eu-west-1", "access_key_id": "s3cr3t", "secret_access_key": "s3cr3t"}
TOKENS = "https://login.example.com/token"
AZURE = "https://my-vault.vault.azure.net"
VAULT = "https://vault.example.com:8200"
STORES: list[Callable[[], keyswap.Source]] = [
    lambda: keyswap.AwsSecretsManager("prod/trading", **AWS, replica_regions=["us-east-1"]),
    lambda: keyswap.AwsParameterStore("/prod/key", **AWS, session_token="s3cr3t", label="live"),
    lambda: keyswap.AwsSecretsAgent("prod/trading", token="s3cr3t", key="/api_key"),
    lambda: keyswap.AzureKeyVault(
        AZURE, "trading", tenant_id="t", client_id="a", client_secret="s3cr3t"
    ),
    lambda: keyswap.AzureKeyVault(AZURE, "trading", token=lambda: "s3cr3t"),
    lambda: keyswap.AzureKeyVault(AZURE, "trading", managed_identity=True),
    lambda: keyswap.Etcd(["https://etcd.example.com:2379"], "/keys/a", user="u", password="s3cr3t"),
    lambda: keyswap.GcpSecretManager("projects/p/secrets/trading", token="s3cr3t"),
    lambda: keyswap.GcpSecretManager("projects/p/secrets/trading", token=lambda: "s3cr3t"),
    lambda: keyswap.OAuth2ClientCredentials(
        TOKENS, client_id="bot", client_secret="s3cr3t", scopes=["a"], parameters={"x": "s3cr3t"}
    ),
    lambda: keyswap.OAuth2RefreshToken(TOKENS, "/var/lib/token", client_id="app"),
    lambda: keyswap.Vault(VAULT, kv="secret/trading", token="s3cr3t"),
    lambda: keyswap.Vault(VAULT, static_role="database/app", app_role="s3cr3t", secret_id="s3cr3t"),
    lambda: keyswap.Vault(VAULT, dynamic="database/creds/app", kubernetes="trading"),
    lambda: keyswap.Vault(VAULT, kv="trading", mount="team/kv", jwt_role="bot", jwt="s3cr3t"),
]
WRONG: list[Callable[[], keyswap.Source]] = [
    lambda: keyswap.AwsSecretsManager("prod/trading", access_key_id="s3cr3t"),
    lambda: keyswap.AwsSecretsManager("prod/trading", replica_regions="us-east-1"),
    lambda: keyswap.AwsSecretsAgent("prod/trading", token="s3cr3t", token_file="s3cr3t"),
    lambda: keyswap.AwsSecretsAgent("prod/trading", endpoint_url="s3cr3t"),
    lambda: keyswap.AzureKeyVault("my-vault.vault.azure.net", "trading", token="s3cr3t"),
    lambda: keyswap.Etcd([], "/keys/a", password="s3cr3t"),
    lambda: keyswap.AzureKeyVault(AZURE, "trading", client_id="a", client_secret="s3cr3t"),
    lambda: keyswap.AzureKeyVault(AZURE, "trading", managed_identity=True, token="s3cr3t"),
    lambda: keyswap.GcpSecretManager("s3cr3t"),
    lambda: keyswap.GcpSecretManager("projects/p/secrets/t", token="s3cr3t", credentials="s3cr3t"),
    lambda: keyswap.OAuth2ClientCredentials("login.example.com", client_id="x", client_secret="s3cr3t"),
    lambda: keyswap.OAuth2ClientCredentials(TOKENS, client_id="x", client_secret=lambda: "s3cr3t"),  # type: ignore[arg-type]
    lambda: keyswap.OAuth2ClientCredentials(TOKENS, client_id="x", private_key="s3cr3t"),
    lambda: keyswap.OAuth2RefreshToken(TOKENS, "", client_id="s3cr3t"),
    lambda: keyswap.Vault(VAULT, token="s3cr3t"),
    lambda: keyswap.Vault(VAULT, kv="secret/a", dynamic="a/b", token="s3cr3t"),
    lambda: keyswap.Vault(VAULT, kv="secret/a", token="s3cr3t", kubernetes="s3cr3t"),
    lambda: keyswap.Vault(VAULT, kv="secret/a", token="s3cr3t", timeout=-1),
    lambda: keyswap.Vault(VAULT, kv="secret/a", token=7),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("make", STORES)
def test_a_store_shows_what_it_is_and_no_secret(make: Callable[[], keyswap.Source]) -> None:
    shown = repr(make())
    assert shown.startswith("<keyswap.") and "s3cr3t" not in shown


@pytest.mark.parametrize("make", WRONG)
def test_what_is_wrong_with_a_store_is_told_at_once(make: Callable[[], keyswap.Source]) -> None:
    with pytest.raises(keyswap.InvalidConfigError) as caught:
        make()
    assert "s3cr3t" not in f"{caught.value!r}"


def sample(parameter: inspect.Parameter) -> Any:
    of = str(parameter.annotation)
    if "bytes" in of:
        return b"s3cr3t"
    if "Mapping" in of:
        return {"x": "s3cr3t"}
    if "Sequence[str]" in of:
        return ["s3cr3t"]
    if "Sequence" in of:
        return []
    return True if "bool" == of else 3.0 if "float" in of else 3 if "int" in of else "s3cr3t"


@pytest.mark.parametrize("of", CLASSES, ids=lambda of: of.__name__)
def test_each_option_has_its_name_and_its_type_in_the_core(of: Any) -> None:
    parameters = list(inspect.signature(of.__new__).parameters.values())[1:]
    assert parameters and of.__name__ in keyswap.__all__ and getattr(keyswap, of.__name__) is of
    needed = {one.name: sample(one) for one in parameters if one.default is inspect.Parameter.empty}
    for one in parameters:
        try:
            of(**needed, **({} if one.name in needed else {one.name: sample(one)}))
        except keyswap.InvalidConfigError as error:
            words = str(error)
            assert "unknown field" not in words and "not of its type" not in words, one.name


@contextmanager
def served(answer: Callable[[str, Any], "tuple[int, object]"]) -> Iterator[str]:
    """A store that answers so, of a path and of headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path, self.headers)
            written = json.dumps(body).encode()
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_key_in_vault_is_followed() -> None:
    stored = ["old", "new"]
    count = 1

    def answer(path: str, headers: Any) -> "tuple[int, object]":
        if headers["x-vault-token"] != "s3cr3t" or not path.startswith("/v1/secret/"):
            return 403, {"errors": ["permission denied"]}
        made = {f"{n}": {"created_time": f"2026-01-0{n}T00:00:00Z"} for n in range(1, count + 1)}
        if path == "/v1/secret/metadata/trading":
            return 200, {"data": {"versions": made}}
        asked = path.partition("version=")[2] or f"{count}"
        about = {"version": int(asked), **made[asked]}
        return 200, {"data": {"data": {"api_key": stored[int(asked) - 1]}, "metadata": about}}

    with served(answer) as url:
        source = keyswap.Vault(url, kv="secret/trading", token="s3cr3t", key="/api_key")
        with keyswap.KeySwap(source, policy=FAST) as keys:
            keys.ready(10)
            assert keys.key() == "old"
            count = 2
            keys.refresh(10)
            assert keys.credentials is not None and keys.credentials.primary is not None
            assert keys.credentials.primary.reveal() == "new"
            assert [one.reveal() for one in keys.credentials.previous] == ["old"]
        with keyswap.KeySwap(keyswap.Vault(url, kv="secret/trading", token="another")) as keys:
            with pytest.raises((keyswap.ForbiddenError, keyswap.BootstrapRejectedError)):
                keys.ready(10)


def follow(source: Any) -> keyswap.KeySwap:
    return keyswap.KeySwap(source, policy=FAST)


def token(headers: Any, good: "set[str]") -> "tuple[int, object]":
    scheme, _, shown = (headers["authorization"] or "").partition(" ")
    if scheme != "Basic" or shown not in good:
        return 401, {"error": "invalid_client"}
    return 200, {"access_token": f"of {shown}", "token_type": "Bearer", "expires_in": 3600}


def basic(secret: str) -> str:
    return b64encode(f"bot:{secret}".encode()).decode()


def test_the_secret_of_a_client_is_what_another_handle_follows() -> None:
    secret, good = "s3cr3t1", {basic("s3cr3t1")}

    def read() -> dict[str, Any]:
        return {"current": {"id": f"id{secret[-1]}", "key": secret}}

    with served(lambda _, headers: token(headers, good)) as url, follow(read) as secrets:
        secrets.ready(10)
        source = keyswap.OAuth2ClientCredentials(url, client_id="bot", client_secret=secrets)
        assert "s3cr3t" not in repr(source)
        with follow(source) as tokens:
            tokens.ready(10)
            assert tokens.key() == f"of {basic('s3cr3t1')}"
            secret = "s3cr3t2"
            good.clear()
            good.add(basic("s3cr3t2"))
            tokens.refresh(10)
            assert tokens.key() == f"of {basic('s3cr3t2')}"
            # The rejection made it fetch, and the acceptance is told in the background.
            wait_until(lambda: secrets.current.id == "id2")
        both: Any = {"client_secret": secrets, "client_secret_file": "x"}
        with pytest.raises(keyswap.InvalidConfigError, match="not both"):
            keyswap.OAuth2ClientCredentials(url, client_id="bot", **both)
    with pytest.raises(keyswap.ClosedError):
        keyswap.OAuth2ClientCredentials(url, client_id="bot", client_secret=secrets)


@pytest.mark.parametrize("of", [keyswap.Endpoint, keyswap.Json])
def test_a_bootstrap_credential_is_what_another_handle_follows(world: World, of: Any) -> None:
    more = {} if of is keyswap.Endpoint else {"within": "/current", "key": "/material/key", "id": "/id"}
    with keyswap.KeySwap(lambda: {"current": {"id": "b1", "key": world.bootstrap}}) as admin:
        with keyswap.KeySwap(of(world.set_url, bootstrap=admin, **more), policy=FAST) as keys:
            keys.ready(10)
            assert keys.current.id == "k1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_logs_in_with_its_own_handle(world: World) -> None:
    done = python(
        """
        import os, sys, keyswap
        url, bootstrap = sys.argv[1:]
        fast = {"fetch_floor": 0.05, "fetch_floor_min": 0.05}
        admin = keyswap.KeySwap(lambda: {"current": {"id": "b1", "key": bootstrap}}, policy=fast)
        keys = keyswap.KeySwap(keyswap.Endpoint(url, bootstrap=admin), policy=fast)
        keys.ready(10)
        child = os.fork()
        keys.refresh(10)
        os.write(1, (keys.current.id + "\\n").encode())
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
        world.set_url,
        world.bootstrap,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["k1", "k1"]), done.stderr
