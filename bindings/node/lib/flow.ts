/*
 * What happens to one request that another library sends.
 *
 * No rule of rotation is in it: the core's attempt says what is next. On the happy path a request is
 * patched from what was seen in this epoch, with no call into the core.
 */

import * as native from '../native'
import { calling, fromNative, givenUpBy, KeyswapError } from './errors'
import { keepHere } from './here'
import type { KeySwap } from './keys'
import { asRecord, type Classifier, judge, type Scheme } from './schemes'

/** What the adapters have in common. */
export interface KeyedOptions {
  /** How credentials go onto requests; without it, as the set says. */
  scheme?: Scheme
  /** Where they may go, and nowhere else: requests to other origins pass without. */
  allowedOrigins?: readonly (string | URL)[]
  classifier?: Classifier
  /** Plain HTTP to other machines: credentials can be read on the way. */
  plainHttpAllowed?: boolean
}

/** What the adapters have in common, beyond what `Client` has too. */
export interface AdapterOptions extends KeyedOptions {
  /**
   * What becomes of a request that sets the header of the scheme itself: an error, unless it is to win. Then it is
   * sent as it is, and what the API says of it is no evidence about the credential.
   */
  ownHeader?: 'refused' | 'wins'
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
}

export interface Hop {
  readonly method: string
  readonly url: string
  readonly origin: string
  readonly replayable: boolean
  /** What may end a wait. It is asked for when there is one. */
  readonly signal?: AbortSignal | undefined
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
  readonly #ownWins: boolean
  readonly #resend: boolean
  #seen: Seen | undefined
  /** The headers that hold a credential, in lower case. Without a scheme they are known once one was seen. */
  names: readonly string[]

  constructor(keys: KeySwap, options: AdapterOptions, further: readonly string[] = []) {
    const { ownHeader = 'refused', resend = true, scheme } = options
    if (ownHeader !== 'refused' && ownHeader !== 'wins') {
      throw new TypeError("ownHeader is 'refused' or 'wins'")
    }
    this.#keys = keys
    this.#classifier = options.classifier
    this.#ownWins = ownHeader === 'wins'
    this.#resend = resend
    this.names = scheme === undefined ? [] : [(scheme.spec.name ?? 'authorization').toLowerCase()]
    this.#authorizer = calling(
      () => new native.NativeAuthorizer(keys.native, specOf(options, further)),
    )
    this.#statuses = new Set(this.#authorizer.attention)
    this.#headers = this.#authorizer.attentionHeaders
  }

  /** What a request to this origin is sent with, without an attempt. Undefined where it takes one. */
  prepared(origin: string): Prepared | undefined {
    const seen = this.#look()
    if (seen.headers === null) return undefined
    if (!seen.admitted.has(origin)) {
      if (!this.admits(origin)) return undefined
      if (seen.admitted.size < MOST_ORIGINS) seen.admitted.add(origin)
      keepHere(origin, seen.headers)
    }
    return seen as Prepared
  }

  /** Whether a hop to an allowed origin goes as it is, because the program set the header itself. */
  leaves(hop: Hop): boolean {
    const name = this.names.find((name) => hop.sets(name))
    if (name === undefined) return false
    if (this.#ownWins) return true
    const what =
      `the request sets ${name} itself, where the credential goes: nothing was sent; leave it out, or pass ` +
      "ownHeader: 'wins' if such requests are to go without the credential"
    throw new KeyswapError('invalid_config', what)
  }

  /** Whether a request may be sent again, if its body can be. */
  resends(said: unknown): boolean {
    return typeof said === 'boolean' ? said : this.#resend
  }

  /** Whether credentials may go to this origin now. */
  admits(origin: string): boolean {
    return this.#seen?.admitted.has(origin) || calling(() => this.#authorizer.admits(`${origin}/`))
  }

  /** Whether an attempt has to be shown this response. */
  attends(status: number, has: (name: string) => boolean): boolean {
    return this.#statuses.has(status) || this.#headers.some(has)
  }

  /** Sends one hop to an allowed origin, from the beginning. */
  begin<R>(hop: Hop, sender: Sender<R>): Promise<R> {
    const attempt = calling(() => this.#authorizer.begin(hop.url, hop.replayable, null))
    return this.#drive(attempt, hop, sender)
  }

  /** Goes on from a response that has to be shown to an attempt. */
  conclude<R>(prepared: Prepared, hop: Hop, sender: Sender<R>, response: R): Promise<R> {
    const attempt = calling(() =>
      this.#authorizer.beginAfter(prepared.snapshot, hop.url, hop.replayable, null),
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
    try {
      let step = first === undefined ? attempt.step : this.#show(attempt, sender.answer(first))
      for (;;) {
        if (step === SEND) {
          const headers = calling(() => attempt.apply(hop.method, hop.url))
          if (this.names.length === 0) {
            this.names = namesOf(headers)
            if (this.leaves(hop)) return await sender.send([])
          }
          keepHere(hop.origin, headers)
          if (response !== undefined) await sender.discard(response)
          response = undefined
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
          const error = attempt.error
          throw error == null
            ? new KeyswapError('transport', 'there is no response')
            : fromNative(error)
        } else {
          return response
        }
      }
    } catch (error) {
      if (response !== undefined) await sender.discard(response).catch(() => undefined)
      throw error
    } finally {
      attempt.close()
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
