export { Client, type ClientOptions, ClientResponse, type RequestOptions } from './client'
export { type ErrorCode, KeyswapError } from './errors'
export { type Event, type EventName, Events } from './events'
export { createFetch, type FetchOptions, type KeyedFetch, type KeyedInit } from './fetch'
export type { AdapterOptions, KeyedOptions } from './flow'
export {
  Credential, type CredentialSet, KeySwap, type KeySwapOptions, type Policy, type Stats, type WaitOptions,
} from './keys'
export {
  basic, bearer, type Classifier, header, type Judged, query, type Scheme, type Verdict,
} from './schemes'
export {
  type CredentialDocument, type Document, endpoint, type EndpointOptions, env, file, type Source,
  type SourceFunction, type Time,
} from './sources'
