export { Attempt, type NextHop, Patch, type Step } from './attempt'
export { Authorizer, type BeginOptions, type KeyedOptions, Prepared } from './authorizer'
export { Client, type ClientOptions, ClientResponse, type RequestOptions } from './client'
export { type ErrorCode, KeyswapError } from './errors'
export { type Event, type EventFields, type EventName, type EventOf, Events } from './events'
export { createFetch, type FetchOptions, type KeyedFetch, type KeyedInit } from './fetch'
export type { AdapterOptions } from './flow'
export {
  Credential, type CredentialSet, KeySwap, type KeySwapOptions, type Listener, type Policy, type Stats, type WaitOptions,
} from './keys'
export { type LogFunction, type Logger, type LogLevel, setLogger } from './log'
export {
  basic, bearer, type Classifier, header, type Judged, query, type Scheme, sign, type Signature, type SignFunction,
  type Unsigned, type Verdict,
} from './schemes'
export {
  type CredentialDocument, type Document, endpoint, type EndpointOptions, env, file, type Source,
  type SourceFunction, type Time,
} from './sources'
