"""Azure's own clients, against a fake of Key Vault and of Microsoft Entra: they must find there what a program finds at
Azure.

azure_client.py VAULT LOGIN CA TENANT RESOURCE FOLDER, where LOGIN is plain HTTP and the folder has the file `subject`
that a workload shows.
"""

import os
import sys

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential, ManagedIdentityCredential, WorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


def main(vault, login, ca, tenant, resource, folder):
    # The authority must be https, so it is the vault's server that is asked.
    entra = {"authority": vault, "disable_instance_discovery": True, "connection_verify": ca}
    workload = f"{folder}/subject"
    credentials = [
        ClientSecretCredential(tenant, "app", "right", **entra),
        WorkloadIdentityCredential(tenant_id=tenant, client_id="app", token_file_path=workload, **entra),
    ]
    os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = login
    credentials.append(ManagedIdentityCredential())
    os.environ["IDENTITY_ENDPOINT"] = f"{login}/msi/token"
    os.environ["IDENTITY_HEADER"] = "right"
    credentials.append(ManagedIdentityCredential(client_id="app"))

    def client(credential):
        # The one who is asked is no name in Azure's domain.
        return SecretClient(vault, credential, verify_challenge_resource=False, connection_verify=ca)

    for credential in credentials:
        assert client(credential).get_secret("trading").value == "five"

    # The last token alone is accepted.
    secrets = client(credentials[-1])
    listed = sorted(secrets.list_properties_of_secret_versions("trading"), key=lambda it: it.created_on)
    assert [it.enabled for it in listed] == [True, True, True, False, True], listed
    assert listed[1].expires_on is not None and listed[4].not_before is None
    assert secrets.get_secret("trading", listed[2].version).value == "three"
    disabled = refused(HttpResponseError, lambda: secrets.get_secret("trading", listed[3].version))
    assert disabled.status_code == 403 and disabled.error.innererror["code"] == "SecretDisabled", disabled
    refused(ResourceNotFoundError, lambda: secrets.get_secret("other"))
    wrong = client(ClientSecretCredential(tenant, "app", "wrong", **entra))
    refused(ClientAuthenticationError, lambda: wrong.get_secret("trading"))


main(*sys.argv[1:])
