"""Google's own client, against a fake of Secret Manager: it must find there what a program finds at Google.

google_client.py URL FOLDER SIGNED, where the folder has the files of credentials that Google's library logs in with, and
what is signed is a service account's assertion that the program under test made.
"""

import json
import sys
from pathlib import Path

import google_crc32c
from cryptography.hazmat.primitives import serialization
from google.api_core import exceptions
from google.auth import identity_pool, jwt
from google.auth.transport.requests import Request
from google.cloud import secretmanager_v1
from google.cloud.secretmanager_v1.services.secret_manager_service.transports.rest import (
    SecretManagerServiceRestTransport,
)
from google.oauth2 import service_account

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
PARENT = "projects/p/secrets/trading"


def client(url, credentials):
    transport = SecretManagerServiceRestTransport(
        host=url.removeprefix("http://"), url_scheme="http", credentials=credentials
    )
    return secretmanager_v1.SecretManagerServiceClient(transport=transport)


def refused(kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was expected")


def verify(signed, account):
    key = serialization.load_pem_private_key(account["private_key"].encode(), None)
    pem = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(serialization.Encoding.PEM, pem)
    claims = jwt.decode(signed, certs=public, audience=account["token_uri"])
    assert claims["iss"] == account["client_email"] and claims["scope"] == SCOPE, claims
    assert jwt.decode_header(signed)["kid"] == account["private_key_id"]


def main(url, folder, signed):
    verify(signed, json.loads((Path(folder) / "account.json").read_text()))
    # Files log in, and what they bring is accepted. The library asks for a person's token at Google alone.
    kinds = {"account": service_account.Credentials.from_service_account_file, "workload": identity_pool.Credentials.from_file}
    for name, load in kinds.items():
        credentials = load(str(Path(folder) / f"{name}.json"), scopes=[SCOPE])
        credentials.refresh(Request())
        client(url, credentials).access_secret_version(name=f"{PARENT}/versions/1")

    secrets = client(url, credentials)
    version = secretmanager_v1.SecretVersion.State
    states = {int(it.name.split("/")[-1]): it.state for it in secrets.list_secret_versions(parent=PARENT)}
    expected = [version.DESTROYED, version.DISABLED, version.ENABLED, version.ENABLED, version.ENABLED]
    assert list(states) == [5, 4, 3, 2, 1], f"newest first: {list(states)}"
    assert list(states.values()) == expected, states
    listing = secretmanager_v1.ListSecretVersionsRequest(parent=PARENT, filter="state:ENABLED", page_size=2)
    assert len(list(secrets.list_secret_versions(request=listing))) == 3

    third = secrets.access_secret_version(name=f"{PARENT}/versions/3")
    assert third.payload.data == b"three", third
    assert third.payload.data_crc32c == google_crc32c.value(b"three")
    alias = secrets.access_secret_version(name=f"{PARENT}/versions/prod")
    assert alias.name.endswith("/versions/2"), alias.name

    latest = lambda: secrets.access_secret_version(name=f"{PARENT}/versions/latest")
    refused(exceptions.BadRequest, latest)
    refused(exceptions.NotFound, lambda: secrets.access_secret_version(name=f"{PARENT}/versions/9"))
    other = "projects/p/secrets/other/versions/1"
    refused(exceptions.NotFound, lambda: secrets.access_secret_version(name=other))


main(*sys.argv[1:])
