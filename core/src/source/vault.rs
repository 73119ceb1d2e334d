//! Keys in HashiCorp Vault and OpenBao.
