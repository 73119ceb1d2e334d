import { inspect } from 'node:util'

import * as native from '../native'
import { told } from './errors'
import { type CommandOptions, type EndpointFields, type JsonFields, SOURCE_TIMES } from './generated/options'
import { type HeaderInput, written } from './options'

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

/** Where sets come from: made by `endpoint`, `json`, `command`, `file`, `env` or `firstOf`. */
export class Source {
  /** @internal */
  readonly native: native.NativeSource
  readonly #shown: string

  /** @internal */
  constructor(shown: string, made: native.NativeSource) {
    this.native = made
    this.#shown = shown
  }

  [inspect.custom](): string {
    return `Source { ${this.#shown} }`
  }
}

/** What there is to say of a rotation endpoint. */
export interface EndpointOptions extends EndpointFields {
  /** Further endpoints that show the same set, asked in order when this one fails. */
  regions?: readonly (string | URL | Source)[]
}

/** A rotation endpoint that speaks `keyswap/1`, at the URL of the set itself. */
export function endpoint(url: string | URL, options: EndpointOptions = {}): Source {
  const { bootstrap, regions = [] } = options
  check(options)
  const { regions: _, bootstrap: __, ...rest } = options
  const spec = {
    ...rest,
    url: String(url),
    ...(typeof bootstrap === 'string' && { bootstrap }),
    ...(bootstrap === false && { noBootstrap: true }),
  }
  const json = asJson(spec)
  const asked = typeof bootstrap === 'function' ? answering(bootstrap, asText) : undefined
  const others = regions.map((region) => (region instanceof Source ? region : endpoint(region, options_of(options))))
  const first = told(native.NativeSource.endpoint(json, asked ?? null, seen('KEYSWAP_BOOTSTRAP')))
  return new Source(shown(spec.url), others.reduce((made, other) => told(made.or(other.native)), first))
}

/** What there is to say of any endpoint that answers with JSON. */
export interface JsonOptions extends JsonFields {
  /** Further endpoints that show the same keys, asked in order when this one fails. */
  regions?: readonly (string | URL | Source)[]
}

/** Any endpoint that answers with JSON, such as `{"api_key": "...", "expires_in": 3600}`. */
export function json(url: string | URL, options: JsonOptions = {}): Source {
  const { bootstrap, regions = [], headers } = options
  check(options)
  const { regions: _, bootstrap: __, headers: ___, ...rest } = options
  const spec = {
    ...rest,
    url: String(url),
    ...(typeof bootstrap === 'string' && { bootstrap }),
    ...(headers !== undefined && { headers: asObject(headers) }),
  }
  const asked = typeof bootstrap === 'function' ? answering(bootstrap, asText) : undefined
  const others = regions.map((region) => (region instanceof Source ? region : json(region, options_of(options))))
  const first = told(native.NativeSource.json(asJson(spec), asked ?? null))
  return new Source(shown(spec.url), others.reduce((made, other) => told(made.or(other.native)), first))
}

/** A command that prints a key: `op read`, `bao kv get`, `gcloud auth print-access-token`. No shell looks at it. */
export function command(argv: readonly string[], options: CommandOptions = {}): Source {
  if (!Array.isArray(argv)) throw new TypeError('argv must be an array of the program and its arguments')
  return new Source(String(argv[0]), told(native.NativeSource.command(asJson({ ...options, argv }))))
}

function asJson(spec: object): string {
  return JSON.stringify(written(spec, (name) => SOURCE_TIMES.has(name)))
}

function asObject(headers: HeaderInput): Record<string, string> {
  return Object.fromEntries(Symbol.iterator in headers ? headers : Object.entries(headers))
}

function shown(url: string): string {
  return URL.canParse(url) ? new URL(url).host : 'endpoint'
}

/** What can be told here, by the names that it has here. */
function check(options: EndpointFields | JsonFields): void {
  const { bootstrap, bootstrapFile } = options
  if (bootstrap !== undefined && bootstrapFile !== undefined) {
    throw new TypeError('pass bootstrap or bootstrapFile, not both')
  }
  if (bootstrap !== undefined && bootstrap !== false && !['string', 'function'].includes(typeof bootstrap)) {
    throw new TypeError('bootstrap must be a string, a function, or false')
  }
  for (const name of ['rootCertificates', 'clientCertificate'] as const) {
    if (options[name] !== undefined && options[`${name}File`] !== undefined) {
      throw new TypeError(`pass ${name} or ${name}File, not both`)
    }
  }
}

/** What this program sees of its environment: a worker, a test or another runtime may have one that is not the process's. */
function seen(variable: string): string | null {
  try {
    return process.env[variable] ?? ''
  } catch {
    // It may not look: Deno asks for a permission.
    return null
  }
}

/** A region that is given by its URL alone is like the first one. */
function options_of<O extends EndpointOptions | JsonOptions>({ regions: _, ...options }: O): Omit<O, 'regions'> {
  return options
}

/** A file or a folder that something else keeps fresh: a key, a folder of pieces, or a document. */
export function file(path: string): Source {
  return new Source(path, told(native.NativeSource.file(JSON.stringify({ path }))))
}

/** A key in an environment variable, for development. It never rotates. */
export function env(variable: string, options: { id?: string } = {}): Source {
  return new Source(variable, told(native.NativeSource.env(JSON.stringify({ variable, ...options }), seen(variable))))
}

/**
 * The first of several sources that works: a store, with a file as the last resort, say.
 *
 * A source is asked only where those before it fail, and nothing that they brought is of use any more: at the start, when all
 * that is held has ended, or when the API rejects it. A store that is down for a minute never makes a program go back
 * to an older key in a file. While a later one stands in, those before it are asked every 30 s.
 */
export function firstOf(...sources: readonly (string | URL | Source | SourceFunction)[]): Source {
  const made = sources.map((source) => sourceOf(source).native)
  return new Source(`first of ${made.length}`, told(native.NativeSource.firstOf(made)))
}

/** @internal */
export function sourceOf(source: string | URL | Source | SourceFunction, mints = false): Source {
  if (mints && typeof source !== 'function') {
    throw new TypeError('mints is for a function: the other sources read what stands somewhere')
  }
  if (source instanceof Source) return source
  if (typeof source === 'string' || source instanceof URL) return endpoint(source)
  if (typeof source === 'function') {
    return new Source('function', native.NativeSource.function(answering(source, asDocument)))
  }
  throw new TypeError('a source is a URL, or made by endpoint, json, command, file or env, or a function')
}

/** A function of the program as the core calls it. Nothing of what it throws is repeated: that may hold a key. */
function answering<T>(
  ask: () => T | Promise<T>,
  write: (value: unknown) => string,
): (answer: native.Answer) => void {
  return (answer) => {
    void (async () => {
      let value: T
      try {
        value = await ask()
      } catch (error) {
        answer.failed(`threw ${error instanceof Error ? error.constructor.name : typeof error}`)
        return
      }
      try {
        answer.returned(write(value))
      } catch (error) {
        answer.failed(error instanceof Unfit ? error.message : 'returned what JSON cannot hold')
      }
    })()
  }
}

/** What a function must not return, in words that quote nothing of it. */
class Unfit extends Error {}

function asText(value: unknown): string {
  if (typeof value === 'string') return value
  throw new Unfit('must return a string')
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
