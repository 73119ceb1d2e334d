import { inspect } from 'node:util'

import type { Credential } from './keys'

/** How a credential goes onto a request: made by `header`, `bearer`, `basic`, `query` or `sign`. */
export class Scheme {
  /** @internal */
  readonly kind: string
  /** @internal */
  readonly name: string | undefined
  /** @internal */
  readonly make: SignFunction | undefined

  /** @internal */
  constructor(kind: string, name?: string, make?: SignFunction) {
    this.kind = kind
    this.name = name
    this.make = make
    Object.freeze(this)
  }

  [inspect.custom](): string {
    return `Scheme { ${this.kind}${this.name === undefined ? '' : ` ${this.name}`} }`
  }
}

/** The material named `key`, as the value of this header. */
export function header(name: string): Scheme {
  return new Scheme('header', name)
}

/** `Authorization: Bearer`, with the material named `key`. */
export function bearer(): Scheme {
  return new Scheme('bearer')
}

/** `Authorization: Basic`, with the material named `key` as user and `secret` as password. */
export function basic(): Scheme {
  return new Scheme('basic')
}

/**
 * The material named `key`, as this query parameter: for `Client` only, because others show URLs. Servers
 * and proxies may log it all the same.
 */
export function query(name: string): Scheme {
  return new Scheme('query', name)
}

/** A request that is about to be sent, as a signature sees it. */
export interface Unsigned {
  readonly method: string
  /** The whole URL. */
  readonly url: string
  /** Names in lower case, without what the signature adds. */
  readonly headers: Readonly<Record<string, string>>
  /** Undefined if there is none, or if it is a stream. */
  readonly body: Uint8Array | undefined
  readonly now: Date
}

/** What a signature adds to a request, in place of what is there of the same name. */
export interface Signature {
  readonly headers?: Readonly<Record<string, string>>
  /** Parameters of the query: for `Client` and `Attempt`, because the adapters show URLs. */
  readonly query?: Readonly<Record<string, string>>
}

export type SignFunction = (credential: Credential, request: Unsigned) => Signature | Promise<Signature>

/**
 * A signature of your own, for an API that wants each request signed: a function, which may be asynchronous, of the
 * credential and the request, that returns the headers to add. It is called before each send. What it throws counts as a
 * rejection of the credential, and the request goes on with the next one; if there is none, it fails with the code
 * `scheme_failed`, before anything is sent.
 *
 * ```ts
 * const scheme = sign((credential, { method, url, body, now }) => {
 *   const text = `${method}\n${new URL(url).pathname}\n${now.getTime()}\n${Buffer.from(body ?? '').toString('hex')}`
 *   const mac = createHmac('sha256', credential.reveal('secret')).update(text).digest('hex')
 *   return { headers: { 'x-api-key': credential.reveal(), 'x-time': String(now.getTime()), 'x-sign': mac } }
 * })
 * ```
 */
export function sign(make: SignFunction): Scheme {
  if (typeof make !== 'function') throw new TypeError('a signature is made by a function')
  return new Scheme('sign', undefined, make)
}

/** What the function made, as the core takes it: raw headers, raw parameters, or what the function did instead. */
export async function signed(
  make: SignFunction,
  credential: Credential,
  request: Unsigned,
): Promise<{ headers: string[]; query: string[]; failed: string | null }> {
  const nothing = { headers: [], query: [] }
  let made: Signature
  try {
    made = await make(credential, request)
  } catch (error) {
    // Its words may hold a key.
    return { ...nothing, failed: `it threw ${error instanceof Error ? error.constructor.name : typeof error}` }
  }
  const parts = typeof made === 'object' && made !== null ? [made.headers ?? {}, made.query ?? {}] : []
  const isFit = (part: unknown): part is Record<string, string> =>
    typeof part === 'object' && part !== null && Object.values(part).every((value) => typeof value === 'string')
  const [headers, query] = parts
  if (!isFit(headers) || !isFit(query)) {
    return { ...nothing, failed: 'it must return an object such as {headers: {...}}, whose values are strings' }
  }
  return { headers: Object.entries(headers).flat(), query: Object.entries(query).flat(), failed: null }
}

/** What a response says of the credential; `needBody` asks to be asked again with the body. */
export type Verdict = 'accepted' | 'rejected' | 'throttled' | 'other' | 'needBody'

/** A response as a classifier sees it: names of headers in lower case, and the body once it asked. */
export interface Judged {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | undefined
}

/**
 * Judges responses, for an API that says "bad key" in a way of its own. It is shown responses with one of
 * `statuses` (401), and at most `bodyLimit` bytes (4096) of a body that it asks for. What it throws counts
 * as `other`.
 */
export interface Classifier {
  (response: Judged): Verdict
  statuses?: readonly number[]
  bodyLimit?: number
}

/** The verdict of a classifier, in the word that the core has for it. */
export function judge(classifier: Classifier, response: Judged): string {
  try {
    const verdict = classifier(response)
    return verdict === 'needBody' ? 'need_body' : verdict
  } catch (error) {
    process.emitWarning('a classifier threw: the response counts as "other"', {
      type: 'KeyswapWarning',
      detail: error instanceof Error ? error.constructor.name : typeof error,
    })
    return 'other'
  }
}
