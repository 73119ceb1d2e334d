/*
 * What happens to one request that another library sends.
 *
 * No rule of rotation is in it: the core's attempt says what is next. On the happy path a request is
 * patched from what was seen in this epoch, with no call into the core.
 */

import * as native from '../native'
import { calling, fromNative, givenUpBy, KeyswapError } from './errors'
import type { KeyedOptions } from './generated/options'
import { keepHere } from './here'
import type { KeySwap } from './keys'
import { asRecord, type Classifier, judge, type Scheme } from './schemes'

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
  send(headers: readonly string[]): Promise<R>
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
  /** What may end a wait. It is asked for when there is one. */
  readonly signal?: AbortSignal | undefined
  /** In milliseconds, what is left of the library's own limit, where it has one. */
  readonly left?: number | undefined
  /** Whether the program set this header itself; the name is in lower case. */
  sets(name: string): boolean
}

const [SEND, WAIT, NEED_BODY, , FAIL] = [0, 1, 2, 3, 4]

interface Seen {
  readonly epoch: number
  readonly snapshot: native.NativeSnapshot
  /** None if a request has to begin an attempt. */
  readonly headers: readonly string[] | null
  readonly admitted: Set<string>
}

/** What a request is sent with, without an attempt; kept by a caller that may have to `conclude`. */
export interface Prepared extends Seen {
  readonly headers: readonly string[]
}

/** The most origins that are noted in an epoch. */
const MOST_ORIGINS = 64

/** Keys, where they may go, and what says that one was rejected. */
export class Keyed {
  readonly #keys: KeySwap
  readonly #authorizer: native.NativeAuthorizer
  readonly #statuses: ReadonlySet<number>
  readonly #headers: readonly string[]
  readonly #classifier: Classifier | undefined
  readonly #resend: boolean
  readonly #listed: ReadonlySet<string>
  #isThrottled = false
  #seen: Seen | undefined
  /** The headers that hold a credential, in lower case. Without a scheme they are known once one was seen. */
  names: readonly string[]

  constructor(keys: KeySwap, options: AdapterOptions, further: readonly string[] = []) {
    const { resend = true, scheme } = options
    this.#keys = keys
    this.#classifier = options.classifier
    this.#resend = resend
    this.names = scheme === undefined ? [] : [(scheme.spec.name ?? 'authorization').toLowerCase()]
    this.#authorizer = calling(
      () => new native.NativeAuthorizer(keys.native, specOf(options, further)),
    )
    this.#listed = new Set([...further, ...(options.allowedOrigins ?? [])].map((url) => new URL(url).origin))
    this.#statuses = new Set(this.#authorizer.attention)
    this.#headers = this.#authorizer.attentionHeaders
  }

  /** What a request to this origin is sent with, without an attempt. Undefined where it takes one. */
  prepared(origin: string): Prepared | undefined {
    // Only what an attempt was shown can begin that, and only time ends it.
    if (this.#isThrottled && (this.#isThrottled = this.#authorizer.isThrottled)) return undefined
    const seen = this.#look()
    if (seen.headers === null) return undefined
    if (!seen.admitted.has(origin)) {
      if (!this.lists(origin) || !calling(() => this.#authorizer.admits(`${origin}/`))) return undefined
      if (seen.admitted.size < MOST_ORIGINS) seen.admitted.add(origin)
      keepHere(origin, seen.headers)
    }
    return seen as Prepared
  }

  /** Whether a hop goes as it is, because the program set the header itself in which it would carry this. */
  yields(hop: Hop, turns: readonly string[]): boolean {
    const name = namesOf(turns).find((name) => hop.sets(name))
    return name !== undefined && calling(() => this.#authorizer.yields(turns as string[], [name, '']))
  }

  /** Where a response leads to which a request with these headers led. */
  follow(hop: Hop, status: number, location: unknown, turns: readonly string[]): Next | undefined {
    if (typeof location !== 'string' || status < 300 || status > 399) return undefined
    const { method, url } = hop
    const next = calling(() => this.#authorizer.follow(method, url, status, location, turns as string[]))
    if (next == null) return undefined
    const to = new URL(next.url)
    // What the program sets in that place is for the same origin.
    const drops = to.origin === hop.origin ? next.drops : [...next.drops, ...this.names]
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
    return this.#statuses.has(status) || this.#headers.some(has)
  }

  /** Sends one hop; as it is, if there is none that may carry a credential. */
  async send<R extends { readonly status: number }>(
    hop: Hop | undefined,
    prepared: Prepared | undefined,
    sender: Sender<R>,
    has: (response: R, name: string) => boolean,
  ): Promise<R> {
    if (hop === undefined) return sender.send([])
    if (prepared === undefined) return this.begin(hop, sender)
    if (this.yields(hop, prepared.headers)) return sender.send([])
    const response = await sender.send(prepared.headers)
    if (!this.attends(response.status, (name) => has(response, name))) return response
    return this.conclude(prepared, hop, sender, response)
  }

  /** Sends one hop to an allowed origin, from the beginning. */
  begin<R>(hop: Hop, sender: Sender<R>): Promise<R> {
    const attempt = calling(() => this.#authorizer.begin(hop.url, hop.replayable, hop.left ?? null))
    return this.#drive(attempt, hop, sender)
  }

  /** Goes on from a response that has to be shown to an attempt. */
  conclude<R>(prepared: Prepared, hop: Hop, sender: Sender<R>, response: R): Promise<R> {
    const attempt = calling(() =>
      this.#authorizer.beginAfter(prepared.snapshot, hop.url, hop.replayable, hop.left ?? null),
    )
    return this.#drive(attempt, hop, sender, response)
  }

  async #drive<R>(
    attempt: native.NativeAttempt,
    hop: Hop,
    sender: Sender<R>,
    first?: R,
  ): Promise<R> {
    let response = first
    // The first rejection is about the credential that was in use: it is the one to return if all is in vain.
    let rejected: R | undefined
    try {
      let step = first === undefined ? attempt.step : this.#show(attempt, sender.answer(first))
      for (;;) {
        if (step === SEND) {
          const headers = calling(() => attempt.apply(hop.method, hop.url))
          this.names = namesOf(headers)
          if (this.yields(hop, headers)) return await sender.send([])
          keepHere(hop.origin, headers)
          const earlier: R | undefined = response
          response = undefined
          if (earlier !== undefined) {
            if (rejected === undefined && attempt.isRejected) rejected = await sender.keep(earlier)
            else await sender.discard(earlier)
          }
          response = await sender.send(headers)
          const answer = sender.answer(response)
          step = this.#show(attempt, answer)
          // The program has the connection.
          if (answer.status === 101) return response
        } else if (step === NEED_BODY && response !== undefined) {
          const peeked = await sender.peek(response, attempt.bodyLimit)
          response = peeked.response
          step = this.#show(attempt, sender.answer(response), peeked.body)
        } else if (step === WAIT) {
          step = await givenUpBy<number>(hop.signal, new native.Job(), (job) => attempt.wait(job))
        } else if (step === FAIL || response === undefined) {
          const { error } = attempt
          // The core ends a wait shortly before the limit. If there is no more to say of it, the error is the library's.
          const isLate = hop.left !== undefined && hop.left <= LAST
          if (isLate && error?.keyswapCode === 'not_ready') await struck(hop.signal)
          throw error == null
            ? new KeyswapError('transport', 'there is no response')
            : fromNative(error)
        } else {
          if (!attempt.isRejected) return response
          const { cause } = attempt
          if (rejected !== undefined) await sender.discard(response)
          const answer = rejected ?? response
          if (cause != null) sender.blame?.(answer, fromNative(cause))
          return answer
        }
      }
    } catch (error) {
      if (response !== undefined) await sender.discard(response).catch(() => undefined)
      throw error
    } finally {
      attempt.close()
      this.#isThrottled = this.#authorizer.isThrottled
    }
  }

  #show(attempt: native.NativeAttempt, { status, headers }: Answer, body?: Uint8Array): number {
    const classifier = this.#classifier
    const said =
      classifier !== undefined && (classifier.statuses ?? [401]).includes(status)
        ? judge(classifier, { status, headers: asRecord(headers), body })
        : null
    return calling(() => attempt.response(status, headers as string[], body ?? null, said))
  }

  #look(): Seen {
    const epoch = this.#keys.epoch
    const seen = this.#seen
    if (seen !== undefined && seen.epoch === epoch) return seen
    const snapshot = calling(() => this.#authorizer.snapshot())
    const headers = snapshot.reveal() ?? null
    if (headers !== null) this.names = namesOf(headers)
    const looked = { epoch, snapshot, headers, admitted: new Set<string>() }
    // One that was published meanwhile is looked at again next time.
    this.#seen = snapshot.epoch === epoch ? looked : undefined
    return looked
  }
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

/** The names among headers by turns. */
export function namesOf(turns: readonly string[]): string[] {
  return turns.filter((_, at) => at % 2 === 0)
}

/** What may end the waits of a request, which count against the library's own limit of time, too. */
export class Patience {
  readonly #until: number | undefined
  readonly #others: readonly AbortSignal[]
  #limit: AbortSignal | undefined

  /** The limit is in milliseconds, from now on. */
  constructor(limit: number | undefined, ...others: (AbortSignal | undefined)[]) {
    this.#until = limit === undefined ? undefined : performance.now() + limit
    this.#others = others.filter((other) => other !== undefined)
  }

  /** Milliseconds, and at least one: to most libraries none means no limit. */
  get left(): number | undefined {
    return this.#until === undefined ? undefined : Math.max(1, Math.ceil(this.#until - performance.now()))
  }

  get signal(): AbortSignal | undefined {
    if (this.#until === undefined && this.#others.length < 2) return this.#others[0]
    if (this.#until !== undefined) this.#limit ??= AbortSignal.timeout(this.left!)
    return AbortSignal.any([...this.#others, ...(this.#limit === undefined ? [] : [this.#limit])])
  }

  /** Whether this is the error of a wait that the limit ended. */
  ended(error: unknown): boolean {
    return this.#limit?.aborted === true && error === this.#limit.reason
  }
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

/** Bytes of a rejection that are read to keep its connection: less costly than to open another. */
export const SMALL = 64 * 1024
/** In milliseconds, how long that may take. */
export const BRIEF = 1000

export function specOf(options: KeyedOptions, further: readonly string[] = []): native.AuthorizerSpec {
  const { scheme, classifier, allowedOrigins = [], plainHttpAllowed } = options
  if (typeof allowedOrigins === 'string' || !Array.isArray(allowedOrigins)) {
    throw new TypeError('allowedOrigins is an array of URLs')
  }
  if (classifier !== undefined && typeof classifier !== 'function') {
    throw new TypeError('a classifier is a function')
  }
  return {
    ...(scheme !== undefined && { scheme: scheme.spec }),
    allowedOrigins: [...further, ...allowedOrigins.map(String)],
    ...(plainHttpAllowed !== undefined && { plainHttpAllowed }),
    ...(options.ownHeaderWins !== undefined && { ownHeaderWins: options.ownHeaderWins }),
    ...(classifier !== undefined && {
      judged: [...(classifier.statuses ?? [401])],
      bodyLimit: classifier.bodyLimit ?? 4096,
    }),
  }
}

/** A key in a query would show in what the library shows of URLs. */
export function refuseQuery(scheme: Scheme | undefined, library: string): void {
  if (scheme?.spec.kind === 'query') {
    throw new KeyswapError(
      'invalid_config',
      `a key in a query shows in the URLs of ${library}: use Client`,
    )
  }
}
