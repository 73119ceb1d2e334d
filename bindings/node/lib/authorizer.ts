/*
 * Credentials for requests that another library sends.
 *
 * On the happy path a request is patched from what was seen in this epoch, with no call into the core.
 */

import { inspect } from 'node:util'

import * as native from '../native'
import { Attempt, Patch } from './attempt'
import { told } from './errors'
import type { KeyedOptions } from './generated/options'
import { keepHere } from './here'
import type { KeySwap } from './keys'
import { type HeaderInput, namesOf, rawOf, seconds } from './options'
import type { Classifier, Scheme } from './schemes'

export interface BeginOptions {
  /** Whether it may be sent again: not if its body is a stream. */
  replayable?: boolean
  /** In milliseconds, how long its caller waits at most from now on. */
  timeout?: number
  /** What the credential must be good for: without all of these the attempt fails with `missing_scope`. */
  scopes?: readonly string[]
}

export interface SentOptions extends Omit<BeginOptions, 'scopes'> {
  /** The method of the request that was sent: POST, which is repeated least, unless it is given. */
  method?: string
}

/** The most origins that are noted in an epoch. */
const MOST_ORIGINS = native.mostOrigins()

/** What a request is sent with, without an attempt, as long as nothing changes. */
export class Prepared {
  /** @internal */
  readonly epoch: number
  /** @internal */
  readonly snapshot: native.NativeSnapshot
  /** @internal */
  readonly admitted = new Set<string>()
  readonly #patch: Patch | undefined
  readonly #raw: readonly string[] | undefined

  /** @internal */
  constructor(snapshot: native.NativeSnapshot) {
    this.snapshot = snapshot
    this.epoch = snapshot.epoch
    const patch = snapshot.patch()
    this.#patch = patch == null ? undefined : new Patch(patch)
    this.#raw = this.#patch?.raw
  }

  /** What to add to the request. */
  get patch(): Patch {
    return this.#patch!
  }

  /** @internal */
  get isUsable(): boolean {
    return this.#patch !== undefined
  }

  /** @internal Raw headers, in the clear. */
  get headers(): readonly string[] {
    return this.#raw!
  }

  [inspect.custom](): string {
    return `Prepared { ${namesOf(this.#raw ?? []).join(', ')} }`
  }
}

/**
 * Puts credentials on requests that a library of your own sends, and learns from the responses.
 *
 * ```ts
 * const authorizer = new Authorizer(keys, { scheme: header('x-api-key'), allowedOrigins: ['https://api.example.com'] })
 * using attempt = authorizer.begin(url)
 * let step = attempt.step
 * let response
 * while (step === 'send' || step === 'wait') {
 *   if (step === 'wait') step = await attempt.wait()
 *   else {
 *     const patch = await attempt.apply('GET', url)
 *     response = await fetch(url, { headers: patch.reveal(), redirect: 'manual' })
 *     step = attempt.response(response.status, response.headers)
 *   }
 * }
 * if (step === 'fail') throw attempt.error
 * ```
 *
 * An attempt is one hop: a library that follows redirects begins another one for each, and `patch.follow` says where it
 * leads. Programs that send much ask for what is `prepared` first, which calls nothing while nothing changes, and begin an
 * attempt where there is nothing, or with `beginAfter` for a response that it `attends` to.
 */
export class Authorizer {
  /** @internal */
  readonly native: native.NativeAuthorizer
  readonly #keys: KeySwap
  readonly #scheme: Scheme | undefined
  readonly #classifier: Classifier | undefined
  readonly #statuses: ReadonlySet<number>
  readonly #headers: readonly string[]
  #isThrottled = false
  #seen: Prepared | undefined
  /** @internal The headers that hold a credential, in lower case. Without a scheme they are known once one was seen. */
  names: readonly string[]

  constructor(keys: KeySwap, options: KeyedOptions) {
    const { scheme, classifier } = options
    const signs = scheme?.make !== undefined
    this.#keys = keys
    this.#scheme = scheme
    this.#classifier = classifier
    this.names = scheme === undefined || signs ? [] : [(scheme.name ?? 'authorization').toLowerCase()]
    this.native = told(native.NativeAuthorizer.of(keys.native, writtenFor(options), signs))
    const { statuses, headers } = this.native.responseFilter()
    this.#statuses = new Set(statuses)
    this.#headers = headers
  }

  /** Whether requests are signed. */
  get signs(): boolean {
    return this.#scheme?.make !== undefined
  }

  /** What a request to this origin is sent with, without an attempt. Undefined where it takes one. */
  prepared(origin: string): Prepared | undefined {
    // Only what an attempt was shown can begin that, and only time ends it.
    if (this.#isThrottled && (this.#isThrottled = this.native.isThrottled)) return undefined
    const seen = this.#look()
    if (!seen.isUsable) return undefined
    if (!seen.admitted.has(origin)) {
      if (!this.admits(`${origin}/`)) return undefined
      if (seen.admitted.size < MOST_ORIGINS) seen.admitted.add(origin)
      keepHere(origin, seen.headers)
    }
    return seen
  }

  /** Whether credentials may go to this URL now. */
  admits(url: string | URL): boolean {
    return told(this.native.admits(String(url)))
  }

  /** Whether an attempt has to be shown a response of this status, and with headers of which `has` tells. */
  attends(status: number, has: (name: string) => boolean): boolean {
    return this.#statuses.has(status) || this.#headers.some(has)
  }

  /**
   * Whether a request with these headers goes as it is, because it sets one of the patch itself. What comes back is then no
   * evidence. Throws with the code `invalid_config` unless `ownHeaderWins`.
   */
  yields(patch: Patch, headers: HeaderInput): boolean {
    return told(this.native.yields(patch.native, rawOf(headers)))
  }

  /** A request is about to be sent: one hop. Throws with the code `origin_not_allowed`. */
  begin(url: string | URL, options: BeginOptions = {}): Attempt {
    const { replayable = true, timeout, scopes = [] } = options
    return this.#attempt(told(this.native.begin(String(url), replayable, seconds(timeout), [...scopes])))
  }

  /** A request was sent with what was prepared, and this `attends` to the response. */
  beginAfter(prepared: Prepared, url: string | URL, options: SentOptions = {}): Attempt {
    const { method = 'POST', replayable = true, timeout } = options
    const { snapshot } = prepared
    return this.#attempt(told(this.native.beginSent(snapshot, method, String(url), replayable, seconds(timeout))))
  }

  #attempt(attempt: native.NativeAttempt): Attempt {
    return new Attempt(attempt, {
      classifier: this.#classifier,
      statuses: this.#statuses,
      make: this.#scheme?.make,
      ended: () => (this.#isThrottled = this.native.isThrottled),
    })
  }

  #look(): Prepared {
    const epoch = this.#keys.epoch
    const seen = this.#seen
    if (seen !== undefined && seen.epoch === epoch) return seen
    const looked = new Prepared(this.native.snapshot())
    if (looked.isUsable) this.names = namesOf(looked.headers)
    // One that was published meanwhile is looked at again next time.
    this.#seen = looked.epoch === epoch ? looked : undefined
    return looked
  }
}

/** The options of an authorizer as the core reads them. */
export function writtenFor(options: KeyedOptions): string {
  const { scheme, classifier, allowedOrigins = [], plainHttpAllowed, ownHeaderWins } = options
  if (typeof allowedOrigins === 'string' || !Array.isArray(allowedOrigins)) {
    throw new TypeError('allowedOrigins is an array of URLs')
  }
  if (classifier !== undefined && typeof classifier !== 'function') {
    throw new TypeError('a classifier is a function')
  }
  return JSON.stringify({
    scheme: scheme === undefined || scheme.make !== undefined ? undefined : { kind: scheme.kind, name: scheme.name },
    allowed_origins: allowedOrigins.map(String),
    classifier: classifier && { statuses: classifier.statuses, body_limit: classifier.bodyLimit },
    plain_http_allowed: plainHttpAllowed,
    own_header_wins: ownHeaderWins,
  })
}
