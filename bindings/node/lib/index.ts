export { Attempt, type NextHop, Patch, type Step } from './attempt'
export { Authorizer, type BeginOptions, Prepared, type SentOptions } from './authorizer'
export { Client, type ClientOptions, ClientResponse, type RequestOptions } from './client'
export { KeyswapError } from './errors'
export { Events } from './events'
export { createFetch, type FetchOptions, type KeyedFetch, type KeyedInit } from './fetch'
export type { AdapterOptions } from './flow'
export type { ErrorCode } from './generated/errors'
export type { Event, EventFields, EventName, EventOf } from './generated/events'
export type { CommandOptions, KeyedOptions, KeySwapOptions } from './generated/options'
export type { Policy } from './generated/policy'
export type { Stats } from './generated/stats'
export { Credential, type CredentialSet, KeySwap, type Listener, type WaitOptions } from './keys'
export { type LogFunction, type Logger, type LogLevel, setLogger } from './log'
export {
  basic, bearer, type Classifier, header, type Judged, query, type Scheme, sign, type Signature, type SignFunction,
  type Unsigned, type Verdict,
} from './schemes'
export {
  command, type CredentialDocument, type Document, endpoint, type EndpointOptions, env, file, firstOf, json, type JsonOptions,
  type Source, type SourceFunction, type Time,
} from './sources'
