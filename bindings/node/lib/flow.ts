/*
 * What happens to one request that another library sends.
 *
 * No rule of rotation is in it: the core's attempt says what is next. On the happy path a request is
 * patched from what was seen in this epoch, with no call into the core.
 */

import * as native from '../native'
import { type Attempt, NOTHING, type Patch, type Step } from './attempt'
import { Authorizer, type Prepared } from './authorizer'
import { invalid, KeyswapError, told } from './errors'
import type { KeyedOptions } from './generated/options'
import { keepHere } from './here'
import type { KeySwap } from './keys'
import { asRecord } from './options'
import type { Scheme } from './schemes'

export type { Prepared } from './authorizer'

/** What the adapters have in common, beyond what `Client` has too. */
export interface AdapterOptions extends KeyedOptions {
  /** False: a request is sent once, and a rejection is returned. A request may say so for itself. */
  resend?: boolean
}

/** A response, as far as an attempt looks at it; headers by turns. */
export interface Answer {
  readonly status: number
  readonly headers: readonly string[]
}

/** How a library sends. */
export interface Sender<R> {
  send(patch: Patch): Promise<R>
  answer(response: R): Answer
  /** The first bytes of the body; the response stays whole. */
  peek(response: R, limit: number): Promise<{ body: Uint8Array; response: R }>
  /** Gives up a response that is not the one to return. */
  discard(response: R): Promise<void>
  /**
   * Reads a response to its end, so that its connection is free and it can be returned later; the same, or another one
   * in its place. Undefined, and given up, if it is large or takes its time.
   */
  keep(response: R): Promise<R | undefined>
  /** Says why nothing fresh came, on the rejection that is returned. */
  blame?(response: R, cause: KeyswapError): void
}

export interface Hop {
  readonly method: string
  readonly url: string
  readonly origin: string
  readonly replayable: boolean
  /** What the credential must be good for. */
  readonly scopes: readonly string[]
  /** What may end a wait. It is asked for when there is one. */
  readonly signal?: AbortSignal | undefined
  /** In milliseconds, what is left of the library's own limit, where it has one. */
  readonly left?: number | undefined
  /** Whether the program set this header itself; the name is in lower case. */
  sets(name: string): boolean
  /** The raw headers and the body that the program gave, for a signature. */
  unsigned(): Promise<{ headers: readonly string[]; body: Uint8Array | undefined }>
}

/** Keys, where they may go, and what says that one was rejected. */
export class Keyed {
  readonly #authorizer: Authorizer
  readonly #scheme: Scheme | undefined
  readonly #resend: boolean
  readonly #listed: ReadonlySet<string>

  constructor(keys: KeySwap, options: AdapterOptions, further: readonly string[] = []) {
    const { resend = true, allowedOrigins = [] } = options
    this.#resend = resend
    this.#scheme = options.scheme
    this.#authorizer = new Authorizer(keys, { ...options, allowedOrigins: listed(further, allowedOrigins) })
    this.#listed = new Set([...further, ...allowedOrigins].map((url) => new URL(url).origin))
  }

  /** What a request to this origin is sent with, without an attempt. Undefined where it takes one. */
  prepared(origin: string): Prepared | undefined {
    return this.#authorizer.prepared(origin)
  }

  /** Whether a hop goes as it is, because the program set the header itself in which it would carry this. */
  yields(hop: Hop, patch: Patch): boolean {
    const name = patch.names.find((name) => hop.sets(name))
    return name !== undefined && told(this.#authorizer.native.yields(patch.native, [name, '']))
  }

  /** Where a response leads whose request carried this. Whether its body can be sent again is known to the library. */
  follow(hop: Pick<Hop, 'method' | 'url' | 'origin'>, status: number, location: unknown, carried: Patch): Next | undefined {
    if (typeof location !== 'string' || status < 300 || status > 399) return undefined
    const { method, url } = hop
    const next = carried.follow({ method, url }, status, location)
    if (next === undefined) return undefined
    const to = new URL(next.url)
    // What the program sets in that place is for the same origin.
    const drops = to.origin === hop.origin ? next.drops : [...next.drops, ...this.#authorizer.names]
    return { method: next.method, url: to, drops, dropsBody: next.dropsBody }
  }

  /** Whether a request may be sent again, if its body can be. */
  resends(said: unknown): boolean {
    return typeof said === 'boolean' ? said : this.#resend
  }

  /** Whether the program allowed this origin. Where the set then rules it out, an attempt says so. */
  lists(origin: string): boolean {
    return this.#listed.has(origin)
  }

  /** Whether an attempt has to be shown this response. */
  attends(status: number, has: (name: string) => boolean): boolean {
    return this.#authorizer.attends(status, has)
  }

  /** Sends one hop; as it is, if there is none that may carry a credential. */
  async send<R extends { readonly status: number }>(
    hop: Hop | undefined,
    prepared: Prepared | undefined,
    sender: Sender<R>,
    has: (response: R, name: string) => boolean,
  ): Promise<R> {
    if (hop === undefined) return sender.send(NOTHING)
    if (prepared === undefined || hop.scopes.length > 0) return this.begin(hop, sender)
    if (this.yields(hop, prepared.patch)) return sender.send(NOTHING)
    const response = await sender.send(prepared.patch)
    if (!this.attends(response.status, (name) => has(response, name))) return response
    return this.conclude(prepared, hop, sender, response)
  }

  /** Sends one hop to an allowed origin, from the beginning. */
  begin<R>(hop: Hop, sender: Sender<R>): Promise<R> {
    return this.#drive(this.#authorizer.begin(hop.url, { ...limitsOf(hop), scopes: hop.scopes }), hop, sender)
  }

  /** Goes on from a response that has to be shown to an attempt. */
  conclude<R>(prepared: Prepared, hop: Hop, sender: Sender<R>, response: R): Promise<R> {
    return this.#drive(this.#authorizer.beginAfter(prepared, hop.url, { method: hop.method, ...limitsOf(hop) }), hop, sender, response)
  }

  async #drive<R>(
    attempt: Attempt,
    hop: Hop,
    sender: Sender<R>,
    first?: R,
  ): Promise<R> {
    let response = first
    // The first rejection is about the credential that was in use: it is the one to return if all is in vain.
    let rejected: R | undefined
    try {
      let step = first === undefined ? attempt.step : shown(attempt, sender.answer(first))
      for (;;) {
        if (step === 'send') {
          const make = this.#scheme?.make
          const patch = make === undefined ? attempt.put(hop.method, hop.url) : await signedFor(attempt, make, hop)
          this.#authorizer.names = patch.names
          if (this.yields(hop, patch)) return await sender.send(NOTHING)
          keepHere(hop.origin, patch.raw)
          const earlier: R | undefined = response
          response = undefined
          if (earlier !== undefined) {
            if (rejected === undefined && attempt.isRejected) rejected = await sender.keep(earlier)
            else await sender.discard(earlier)
          }
          response = await sender.send(patch)
          const answer = sender.answer(response)
          step = shown(attempt, answer)
          // The program has the connection.
          if (answer.status === 101) return response
        } else if (step === 'needBody' && response !== undefined) {
          const peeked = await sender.peek(response, attempt.bodyLimit)
          response = peeked.response
          step = shown(attempt, sender.answer(response), peeked.body)
        } else if (step === 'wait') {
          step = await attempt.wait({ signal: hop.signal })
        } else if (step === 'fail' || response === undefined) {
          const { error } = attempt
          // The core ends a wait shortly before the limit. If there is no more to say of it, the error is the library's.
          const isLate = hop.left !== undefined && hop.left <= LAST
          if (isLate && error?.code === 'not_ready') await struck(hop.signal)
          throw error ?? new KeyswapError('transport', 'there is no response')
        } else {
          if (!attempt.isRejected) return response
          const { cause } = attempt
          if (rejected !== undefined) await sender.discard(response)
          const answer = rejected ?? response
          if (cause !== undefined) sender.blame?.(answer, cause)
          return answer
        }
      }
    } catch (error) {
      if (response !== undefined) await sender.discard(response).catch(() => undefined)
      throw error
    } finally {
      attempt.close()
    }
  }
}

function shown(attempt: Attempt, { status, headers }: Answer, body?: Uint8Array): Step {
  return attempt.show(status, headers, body)
}

function limitsOf({ replayable, left }: Hop): { replayable: boolean; timeout?: number } {
  return left === undefined ? { replayable } : { replayable, timeout: left }
}

/** What a signature puts on a hop: headers, because a library shows URLs. */
async function signedFor(attempt: Attempt, make: NonNullable<Scheme['make']>, hop: Hop): Promise<Patch> {
  const { headers, body } = await hop.unsigned()
  const patch = await attempt.sign(make, hop.method, hop.url, { headers: asRecord(headers), body })
  if (patch.revealURL(hop.url) === hop.url) return patch
  throw new KeyswapError('scheme_failed', 'a signature in a query shows in the URLs of this library: use Client')
}

/** In milliseconds, a little more than what the core leaves of a limit at most. */
const LAST = 120

/** Fails when the signal does. */
function struck(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal === undefined) resolve()
    else if (signal.aborted) reject(signal.reason)
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}

/** What may end the waits of a request, which count against the library's own limit of time, too. */
export class Patience {
  readonly #until: number | undefined
  readonly #others: readonly AbortSignal[]
  #limit: AbortSignal | undefined

  /** The limit is in milliseconds, from now on. */
  constructor(limit: number | undefined, ...others: (AbortSignal | undefined)[]) {
    this.#until = limit === undefined ? undefined : performance.now() + limit
    this.#others = others.filter((other) => other != null)
  }

  /** Milliseconds, and at least one: to most libraries none means no limit. */
  get left(): number | undefined {
    return this.#until === undefined ? undefined : Math.max(1, Math.ceil(this.#until - performance.now()))
  }

  get signal(): AbortSignal | undefined {
    if (this.#until === undefined && this.#others.length < 2) return this.#others[0]
    if (this.#until !== undefined) this.#limit ??= AbortSignal.timeout(this.left!)
    return AbortSignal.any([...this.#others.map(ofHere), ...(this.#limit === undefined ? [] : [this.#limit])])
  }

  /** Whether this is the error of a wait that the limit ended. */
  ended(error: unknown): boolean {
    return this.#limit?.aborted === true && error === this.#limit.reason
  }
}

/** One of another realm, or of a library, as those of this one are. */
function ofHere(signal: AbortSignal): AbortSignal {
  if (signal instanceof AbortSignal) return signal
  const over = new AbortController()
  const giveUp = (): void => over.abort((signal as AbortSignal).reason)
  if ((signal as AbortSignal).aborted) giveUp()
  else (signal as AbortSignal).addEventListener('abort', giveUp, { once: true })
  return over.signal
}

/** The hop that a redirect asks for. */
export interface Next {
  readonly method: string
  readonly url: URL
  /** The headers that stay behind. */
  readonly drops: readonly string[]
  readonly dropsBody: boolean
}

/** The most redirects that one request follows. */
export const MOST_HOPS = native.mostHops()

const [small, brief] = native.smallAndBrief() as [number, number]
/** Bytes of a rejection that are read to keep its connection: less costly than to open another. */
export const SMALL = small
/** In milliseconds, how long that may take. */
export const BRIEF = brief

function listed(further: readonly string[], allowed: KeyedOptions['allowedOrigins']): readonly (string | URL)[] {
  // What is no array is told so where all origins are read.
  return Array.isArray(allowed) ? [...further, ...allowed] : (allowed as never)
}

/** A key in a query would show in what the library shows of URLs. */
export function refuseQuery(scheme: Scheme | undefined, library: string): void {
  if (scheme?.kind === 'query') throw invalid(`a key in a query shows in the URLs of ${library}: use Client`)
}
