import { DecoratorHandler, type Dispatcher, errors } from 'undici'

import type { Patch } from './attempt'
import { isRepeatable, KEPT, Recorded } from './bodies'
import { invalid } from './errors'
import { type AdapterOptions, type Answer, type Hop, Keyed, Patience, refuseQuery, type Sender } from './flow'
import { type Controller, fieldsOf, type Handler, type Head, Held, isNamed, OlderController } from './held'
import { unwrapped } from './here'
import type { KeySwap } from './keys'
import { bytesOf } from './options'

type Dispatch = Dispatcher['dispatch']
type Options = Dispatcher.DispatchOptions & { resend?: boolean; scopes?: readonly string[] }

/**
 * An interceptor for undici 7 and 8 whose requests live through rotations.
 *
 * ```ts
 * const agent = new Agent().compose(
 *   keyswapInterceptor(keys, { scheme: header('x-api-key'), allowedOrigins: ['https://api.example.com'] }),
 * )
 * ```
 *
 * It is called for each hop if it is composed before (inside of) an interceptor that follows redirects; one that
 * is further inside is told not to follow where there is a credential. A body that is a stream is sent once: if its
 * credential is rejected, the API's response is returned. A request says `resend: false` to be sent once, and
 * names the `scopes` without which it is not sent. Its
 * `headersTimeout` is also the longest that it waits for a fresh credential. Plain HTTP to this machine that a
 * dispatcher would send through a proxy is an error.
 */
export function keyswapInterceptor(
  keys: KeySwap,
  options: AdapterOptions,
): Dispatcher.DispatcherComposeInterceptor {
  refuseQuery(options.scheme, 'undici')
  const keyed = new Keyed(keys, options)
  // Behind a hop that must not carry a credential, none does: an interceptor that follows has one handler for all.
  const astray = new WeakSet<Handler>()
  return (dispatch) => (given, handler) => {
    const origin = originOf(given.origin)
    if (origin === undefined) return dispatch(given, handler)
    if (!keyed.lists(origin) || astray.has(handler)) {
      astray.add(handler)
      return dispatch(given, handler)
    }
    const opts = keyed.resends((given as Options).resend) ? recorded(given) : given
    const hop = hopOf(keyed, opts, origin)
    const prepared = hop.scopes.length > 0 ? undefined : keyed.prepared(origin)
    if (prepared !== undefined) {
      if (keyed.yields(hop, prepared.patch)) return dispatch(opts, handler)
      const take = (held: Held): void => {
        const course = new Course(dispatch, opts, hop, modern(handler), held.controller)
        course.run((hop) => keyed.conclude(prepared, hop, course, held))
        held.broken = (error) => course.abort(error)
      }
      const watching = isOlder(handler)
        ? new WatchingOlder(handler, keyed, take)
        : new Watching(handler, keyed, take)
      // The types of undici say that trailers are strings: they are buffers.
      return dispatch(patched(opts, prepared.headers), watching as Handler)
    }
    const course = new Course(dispatch, opts, hop, modern(handler))
    course.begin()
    course.run((hop) => keyed.begin(hop, course))
    return true
  }
}

/** Passes everything on, until the head of a response is one that has to be looked at. */
class Watching implements Handler {
  readonly user: Handler
  readonly #keyed: Keyed
  readonly #take: (held: Held) => void
  #held: Held | undefined

  constructor(user: Handler, keyed: Keyed, take: (held: Held) => void) {
    this.user = user
    this.#keyed = keyed
    this.#take = take
  }

  onRequestStart(controller: Controller, context: unknown): void {
    if (hasStrayed(context)) controller.abort(strayed())
    else this.user.onRequestStart?.(controller, context)
  }

  onRequestUpgrade(...args: Parameters<NonNullable<Handler['onRequestUpgrade']>>): void {
    this.user.onRequestUpgrade?.(...args)
  }

  onResponseStart(controller: Controller, status: number, fields: Head, message?: string): void {
    if (status >= 200 && this.#keyed.attends(status, (name) => name in fields)) {
      this.#held = new Held(controller, status, fields, message)
      this.#take(this.#held)
    } else {
      this.user.onResponseStart?.(controller, status, fields, message)
    }
  }

  onResponseData(controller: Controller, part: Buffer): void {
    if (this.#held !== undefined) this.#held.data(part)
    else this.user.onResponseData?.(controller, part)
  }

  onResponseEnd(controller: Controller, trailers: Head): void {
    if (this.#held !== undefined) this.#held.ended({ trailers })
    else this.user.onResponseEnd?.(controller, trailers)
  }

  onResponseError(controller: Controller, error: Error): void {
    if (this.#held !== undefined) this.#held.ended({ error })
    else this.user.onResponseError?.(controller, unwrapped(error) as Error)
  }
}

/**
 * The same for a handler of the older kind, which those of undici 7 are and 8 has none of: translating each head of a response
 * into the newer kind and back would cost more than all else that is done here.
 */
class WatchingOlder implements Older {
  readonly #user: Older
  readonly #keyed: Keyed
  readonly #take: (held: Held) => void
  #controller: OlderController | undefined
  #held: Held | undefined

  constructor(user: Older, keyed: Keyed, take: (held: Held) => void) {
    this.#user = user
    this.#keyed = keyed
    this.#take = take
  }

  onConnect(abort: (reason?: Error) => void, context?: unknown): void {
    const controller = new OlderController(abort)
    this.#controller = controller
    if (hasStrayed(context)) abort(strayed())
    else this.#user.onConnect((reason) => controller.abort(reason), context)
  }

  onResponseStarted(): void {
    this.#user.onResponseStarted?.()
  }

  onUpgrade(...args: unknown[]): void {
    this.#user.onUpgrade?.(...args)
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void, message: string): boolean {
    if (status < 200 || !this.#keyed.attends(status, (name) => isNamed(raw, name))) {
      return this.#user.onHeaders(status, raw, resume, message)
    }
    const controller = this.#controller!
    controller.resumed = resume
    this.#held = new Held(controller, status, fieldsOf(raw), message)
    this.#take(this.#held)
    return !controller.paused
  }

  onData(part: Buffer): boolean {
    if (this.#held === undefined) return this.#user.onData(part)
    this.#held.data(part)
    return !this.#controller!.paused
  }

  onComplete(raw: Buffer[] | null): void {
    if (this.#held === undefined) this.#user.onComplete(raw)
    else this.#held.ended({ trailers: fieldsOf(raw ?? []) })
  }

  onError(error: Error): void {
    if (this.#held === undefined) this.#user.onError(unwrapped(error) as Error)
    else this.#held.ended({ error })
  }
}

/** A handler of the older kind. */
interface Older {
  onConnect(abort: (reason?: Error) => void, context?: unknown): void
  onResponseStarted?(): void
  onUpgrade?(...args: unknown[]): void
  onHeaders(status: number, raw: Buffer[], resume: () => void, message: string): boolean
  onData(part: Buffer): boolean
  onComplete(raw: Buffer[] | null): void
  onError(error: Error): void
}

/** Whether what is further inside has followed a redirect, with the credential. Nothing of that hop is written yet. */
function hasStrayed(context: unknown): boolean {
  const { history } = (context ?? {}) as { history?: unknown }
  return Array.isArray(history) && history.length > 0
}

function strayed(): Error {
  return invalid(
    'an interceptor inside of that of keyswap follows redirects, and would take the key along: compose it after ' +
      'keyswapInterceptor, so that it is outside',
  )
}

/** One request that an attempt drives. */
class Course implements Sender<Held> {
  readonly #dispatch: Dispatch
  readonly #opts: Options
  readonly #user: Handler
  readonly #hop: Hop
  readonly #over = new AbortController()
  readonly #patience: Patience
  #controller: Controller | undefined

  constructor(
    dispatch: Dispatch,
    opts: Options,
    hop: Hop,
    user: Handler,
    controller?: Controller,
  ) {
    this.#controller = controller
    this.#dispatch = dispatch
    this.#opts = opts
    this.#user = user
    const patience = new Patience(opts.headersTimeout || undefined, this.#over.signal)
    this.#patience = patience
    this.#hop = {
      ...hop,
      get signal() {
        return patience.signal
      },
      get left() {
        return patience.left
      },
    }
  }

  /** Nothing is sent yet, but the user may give it up already. */
  begin(): void {
    const over = this.#over
    this.#controller = {
      get aborted() {
        return over.signal.aborted
      },
      get reason() {
        return (over.signal.reason as Error | undefined) ?? null
      },
      paused: false,
      abort: (reason) => over.abort(reason),
      pause: () => undefined,
      resume: () => undefined,
    }
    this.#user.onRequestStart?.(this.#controller, {})
  }

  run(drive: (hop: Hop) => Promise<Held>): void {
    drive(this.#hop).then(
      (held) => held.forward(this.#user),
      (error: Error) => {
        const told = this.#patience.ended(error) ? new errors.HeadersTimeoutError() : (unwrapped(error) as Error)
        this.#user.onResponseError?.(this.#controller!, told)
      },
    )
  }

  abort(error: Error): void {
    this.#over.abort(error)
  }

  send({ raw }: Patch): Promise<Held> {
    return new Promise((resolve, reject) => {
      let held: Held | undefined
      const user = this.#user
      this.#dispatch(patched(this.#opts, raw), {
        onRequestStart: (controller, context) => {
          this.#controller = controller
          if (hasStrayed(context)) controller.abort(strayed())
          else user.onRequestStart?.(controller, context)
        },
        onRequestUpgrade: (controller, status, fields, socket) => {
          user.onRequestUpgrade?.(controller, status, fields, socket)
          resolve(Held.upgraded(controller, status, fields))
        },
        onResponseStart: (controller, status, fields, message) => {
          if (status < 200) return
          held = new Held(controller, status, fields, message)
          held.broken = (error) => this.abort(error)
          resolve(held)
        },
        onResponseData: (_, part) => held?.data(part),
        onResponseEnd: (_, trailers) => held?.ended({ trailers }),
        onResponseError: (controller, error) => {
          this.#controller = controller
          if (held === undefined) reject(error)
          else held.ended({ error })
        },
      })
    })
  }

  answer(held: Held): Answer {
    return held
  }

  async peek(held: Held, limit: number): Promise<{ body: Uint8Array; response: Held }> {
    return { body: await held.peek(limit), response: held }
  }

  async discard(held: Held): Promise<void> {
    held.discard()
  }

  async keep(held: Held): Promise<Held | undefined> {
    if (await held.complete()) return held
    held.discard()
    return undefined
  }
}

function isOlder(handler: Handler | Older): handler is Older {
  return 'onConnect' in handler && typeof handler.onConnect === 'function'
}

/** A handler that is only of the older kind is translated by undici itself. */
function modern(handler: Handler): Handler {
  const isOnlyOlder = handler.onResponseStart === undefined && handler.onRequestStart === undefined
  return isOnlyOlder ? (new DecoratorHandler(handler) as unknown as Handler) : handler
}

function hopOf(keyed: Keyed, opts: Options, origin: string): Hop {
  const { method, path, body, headers } = opts
  const canRepeat = isRepeatable(body) || Array.isArray(body) || body instanceof Recorded
  return {
    method: method.toUpperCase(),
    url: `${origin}${path}`,
    origin,
    replayable: canRepeat && keyed.resends(opts.resend),
    scopes: opts.scopes ?? [],
    sets: (name) => headers != null && namesIn(headers).some((own) => own.toLowerCase() === name),
    unsigned: async () => ({ headers: headers == null ? [] : rawIn(headers), body: await bytesOf(body) }),
  }
}

/**
 * The body that fetch hands on is an iterator, whatever it was made of. If its length is known and not large, what is
 * sent of it is kept.
 */
function recorded(opts: Options): Options {
  const { body, headers } = opts as { body: unknown; headers?: Options['headers'] }
  if (typeof body !== 'object' || body === null || headers == null) return opts
  if (!(Symbol.asyncIterator in body) || 'pipe' in body || 'pipeTo' in body) return opts
  const turns = rawIn(headers)
  const at = turns.findIndex((turn, at) => at % 2 === 0 && turn.toLowerCase() === 'content-length')
  if (at === -1 || !(Number(turns[at + 1]) <= KEPT)) return opts
  return { ...opts, body: new Recorded(body as AsyncIterable<Uint8Array>) as unknown as NonNullable<Options['body']> }
}

function rawIn(headers: NonNullable<Options['headers']>): string[] {
  if (isFlat(headers)) return headers.map(String)
  const pairs = Symbol.iterator in headers ? [...(headers as Iterable<[string, unknown]>)] : Object.entries(headers)
  return pairs.flatMap(([name, value]) => [value ?? []].flat().flatMap((each) => [name, String(each)]))
}

function namesIn(headers: NonNullable<Options['headers']>): string[] {
  if (isFlat(headers)) return headers.filter((_, at) => at % 2 === 0)
  if (Symbol.iterator in headers) return [...(headers as Iterable<[string, unknown]>)].map(([name]) => name)
  return Object.keys(headers)
}

/** Whether names and values stand by turns; otherwise an array holds pairs. */
function isFlat(headers: unknown): headers is string[] {
  return Array.isArray(headers) && !Array.isArray(headers[0])
}

/** Programs send to few origins, one after another to the same. */
let written: string | undefined
let parsed: string | undefined

function originOf(origin: string | URL | undefined): string | undefined {
  if (origin instanceof URL) return origin.origin
  if (origin === undefined) return undefined
  if (origin !== written) {
    parsed = URL.canParse(origin) ? new URL(origin).origin : undefined
    written = origin
  }
  return parsed
}

/** With the credential; what is further inside must not take it to where a redirect leads. */
function patched(opts: Options, turns: readonly string[]): Options & { maxRedirections?: 0 } {
  if (turns.length === 0) return opts
  const patched = { ...opts, maxRedirections: 0 as const }
  const { headers } = opts
  const isSet = (name: string): boolean =>
    turns.some((turn, at) => at % 2 === 0 && turn.toLowerCase() === name.toLowerCase())
  if (headers == null) return { ...patched, headers: turns as string[] }
  if (isFlat(headers)) {
    const kept: string[] = []
    for (let at = 0; at + 1 < headers.length; at += 2) {
      if (!isSet(String(headers[at]))) kept.push(String(headers[at]), String(headers[at + 1]))
    }
    return { ...patched, headers: [...kept, ...turns] }
  }
  const entries =
    Symbol.iterator in headers
      ? [...(headers as Iterable<[string, string | string[] | undefined]>)]
      : Object.entries(headers)
  const merged: Record<string, string | string[] | undefined> = {}
  for (const [name, value] of entries) if (!isSet(name)) merged[name] = value
  for (let at = 0; at + 1 < turns.length; at += 2) merged[turns[at]!] = turns[at + 1]!
  return { ...patched, headers: merged }
}
