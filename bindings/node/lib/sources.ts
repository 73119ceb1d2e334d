import * as native from '../native'
import { told } from './errors'
import { endpoint } from './generated/sources'
import { written } from './options'
import { answering, Source, Unfit } from './source'

/**
 * A credential as a source's function writes it. Further names in `material` are for schemes of your own. Names may also be
 * written as in the documents of an endpoint, such as `expires_at`, whose numbers are seconds.
 */
export interface CredentialDocument {
  id: string
  key?: string
  secret?: string
  passphrase?: string
  material?: Record<string, string>
  version?: string
  scopes?: readonly string[]
  scheme?: string
  params?: { header?: string }
  /** A time is a `Date`, RFC 3339 text, or milliseconds since 1970. */
  createdAt?: Time
  notBefore?: Time
  activateAt?: Time
  expiresAt?: Time
  graceExpiresAt?: Time
}

export type Time = Date | string | number

/** A set as a source's function returns it. */
export interface Document {
  current: CredentialDocument
  previous?: readonly CredentialDocument[]
  next?: CredentialDocument | null
  revoked?: readonly string[]
  generation?: number
  refreshAfter?: Time
  staleOkUntil?: Time
}

/** A source of your own: it returns the set as it is now. One that throws is a failed fetch, and displaces nothing. */
export type SourceFunction = () => Document | Promise<Document>

/**
 * The first of several sources that works: a store, with a file as the last resort, say.
 *
 * A source is asked only where those before it fail, and nothing that they brought is of use any more: at the start, when all
 * that is held has ended, or when the API rejects it. A store that is down for a minute never makes a program go back
 * to an older key in a file. While a later one stands in, those before it are asked every 30 s.
 */
export function firstOf(...sources: readonly (string | URL | Source | SourceFunction)[]): Source {
  const made = sources.map((source) => sourceOf(source).native)
  return new Source(`first of ${made.length}`, told(native.NativeSource.of('first_of', '{}', { sources: made })))
}

/** @internal */
export function sourceOf(source: string | URL | Source | SourceFunction, mints = false): Source {
  if (mints && typeof source !== 'function') {
    throw new TypeError('mints is for a function: every other source knows it of itself')
  }
  if (source instanceof Source) return source
  if (typeof source === 'string' || source instanceof URL) return endpoint(source)
  if (typeof source === 'function') {
    const ask = answering(source, asDocument)
    return new Source('function', told(native.NativeSource.of('function', '{}', { function: ask })))
  }
  throw new TypeError('a source is a URL, or made by endpoint or another function of keyswap, or a function')
}

function asDocument(value: unknown): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const kind = value === null ? 'null' : Array.isArray(value) ? 'an array' : typeof value
    throw new Unfit(`must return an object such as {current: {id, key}}, not ${kind}`)
  }
  const { current, previous, next } = value as Partial<Document>
  return JSON.stringify({
    ...asWritten(value),
    ...(current !== undefined && { current: asWritten(current) }),
    ...(next !== undefined && { next: asWritten(next) }),
    ...(Array.isArray(previous) && { previous: previous.map(asWritten) }),
  })
}

const TIMES = new Set(['createdAt', 'notBefore', 'activateAt', 'expiresAt', 'graceExpiresAt', 'refreshAfter', 'staleOkUntil'])

/** With the names, and the seconds, of the documents of an endpoint. */
function asWritten(part: unknown): object {
  // What is no object is told so by the core.
  if (typeof part !== 'object' || part === null) return part as never
  const made: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(part)) {
    if (TIMES.has(name)) Object.assign(made, written({ [name]: value }, () => true))
    else made[name] = value
  }
  return made
}
