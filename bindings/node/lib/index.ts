export { Attempt, type NextHop, Patch, type Step } from './attempt'
export { Authorizer, type BeginOptions, Prepared, type SentOptions } from './authorizer'
export { Client, type ClientOptions, ClientResponse, type RequestOptions } from './client'
export { KeyswapError } from './errors'
export { Events } from './events'
export { createFetch, type FetchOptions, type KeyedFetch, type KeyedInit } from './fetch'
export type { AdapterOptions } from './flow'
export type { ErrorCode } from './generated/errors'
export type { Event, EventFields, EventName, EventOf } from './generated/events'
export type { KeyedOptions, KeySwapOptions } from './generated/options'
export type { Policy } from './generated/policy'
export type { Stats } from './generated/stats'
export { Credential, type CredentialSet, KeySwap, type Listener, type WaitOptions } from './keys'
export { type LogFunction, type Logger, type LogLevel, setLogger } from './log'
export {
  basic, bearer, type Classifier, header, type Judged, query, type Scheme, sign, type Signature, type SignFunction,
  type Unsigned, type Verdict,
} from './schemes'
// generated: sources (by keyswap-generate: do not edit)
export {
  endpoint, type EndpointOptions,
  file,
  env, type EnvOptions,
  json, type JsonOptions,
  command, type CommandOptions,
  awsSecretsManager, type AwsSecretsManagerOptions,
  awsParameterStore, type AwsParameterStoreOptions,
  awsSecretsAgent, type AwsSecretsAgentOptions,
  azureKeyVault, type AzureKeyVaultOptions,
  etcd, type EtcdOptions,
  gcpSecretManager, type GcpSecretManagerOptions,
  oauth2ClientCredentials, type OAuth2ClientCredentialsOptions,
  oauth2RefreshToken, type OAuth2RefreshTokenOptions,
  vault, type VaultOptions,
} from './generated/sources'
// end of sources
export { type Source } from './source'
export { type CredentialDocument, type Document, firstOf, type SourceFunction, type Time } from './sources'
