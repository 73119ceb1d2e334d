import { DecoratorHandler, type Dispatcher } from 'undici'

import { type Answer, type Hop, Keyed, type KeyedOptions, refuseQuery, type Sender } from './flow'
import type { KeySwap } from './keys'

type Dispatch = Dispatcher['dispatch']
type Options = Dispatcher.DispatchOptions
type Handler = Dispatcher.DispatchHandler
type Controller = Dispatcher.DispatchController
type Head = Parameters<NonNullable<Handler['onResponseStart']>>[2]

/** Bytes of a rejection that are read to keep its connection: less costly than to open another. */
const SMALL = 64 * 1024

/**
 * An interceptor for undici 7 or newer whose requests live through rotations.
 *
 * ```ts
 * const agent = new Agent().compose(
 *   keyswapInterceptor(keys, { scheme: header('x-api-key'), allowedOrigins: ['https://api.example.com'] }),
 * )
 * ```
 *
 * It is called for each hop if it is composed before (inside of) an interceptor that follows redirects. A
 * body that is a stream is sent once: if its credential is rejected, the API's response is returned.
 */
export function keyswapInterceptor(
  keys: KeySwap,
  options: KeyedOptions,
): Dispatcher.DispatcherComposeInterceptor {
  refuseQuery(options.scheme, 'undici')
  const keyed = new Keyed(keys, options)
  return (dispatch) => (opts, handler) => {
    const origin = originOf(opts.origin)
    if (origin === undefined) return dispatch(opts, handler)
    const prepared = keyed.prepared(origin)
    if (prepared !== undefined) {
      const watching = new Watching(modern(handler), (head) =>
        keyed.attends(head.status, (name) => name in head.fields),
      )
      watching.taken = (held) => {
        const course = new Course(dispatch, opts, origin, watching.user, held.controller)
        course.run((hop) => keyed.conclude(prepared, hop, course, held))
        held.broken = (error) => course.abort(error)
      }
      return dispatch(patched(opts, prepared.headers), watching)
    }
    if (!keyed.admits(origin)) return dispatch(opts, handler)
    const course = new Course(dispatch, opts, origin, modern(handler))
    course.begin()
    course.run((hop) => keyed.begin(hop, course))
    return true
  }
}

/** A response whose head is there, and whose body waits. */
class Held implements Answer {
  readonly controller: Controller
  readonly status: number
  readonly fields: Head
  readonly message: string | undefined
  /** It broke off before anything was done with it. */
  broken: ((error: Error) => void) | undefined
  #state: 'waiting' | 'forwarded' | 'discarded' = 'waiting'
  #user: Handler | undefined
  #parts: Buffer[] = []
  #size = 0
  #end: { trailers: Head } | { error: Error } | undefined
  #grown: (() => void) | undefined

  constructor(controller: Controller, status: number, fields: Head, message: string | undefined) {
    this.controller = controller
    this.status = status
    this.fields = fields
    this.message = message
    controller.pause()
  }

  get headers(): string[] {
    return Object.entries(this.fields).flatMap(([name, value]) =>
      value === undefined ? [] : [value].flat().flatMap((each) => [name, each]),
    )
  }

  data(part: Buffer): void {
    if (this.#state === 'discarded') return
    if (this.#state === 'forwarded') {
      this.#user?.onResponseData?.(this.controller, part)
      return
    }
    this.#parts.push(part)
    this.#size += part.length
    this.#grown?.()
  }

  ended(end: { trailers: Head } | { error: Error }): void {
    this.#end = end
    this.#grown?.()
    if (this.#state === 'forwarded') this.#finish()
    else if (this.#state === 'waiting' && 'error' in end) this.broken?.(end.error)
  }

  /** The first bytes of the body. They are kept. */
  async peek(limit: number): Promise<Buffer> {
    while (this.#size < limit && this.#end === undefined) {
      const grown = new Promise<void>((resolve) => (this.#grown = resolve))
      this.controller.resume()
      await grown
    }
    if (this.#end === undefined) this.controller.pause()
    return Buffer.concat(this.#parts).subarray(0, limit)
  }

  /** Gives it up. A small one is read to its end, so that its connection can be used again. */
  discard(): void {
    this.#state = 'discarded'
    this.#parts = []
    if (this.#end !== undefined) return
    if (Number(this.fields['content-length'] ?? Infinity) > SMALL) {
      this.controller.abort(new Error('another response was taken'))
    } else {
      this.controller.resume()
    }
  }

  /** It is the one: the user gets it, from its head on. */
  forward(user: Handler): void {
    this.#state = 'forwarded'
    this.#user = user
    user.onResponseStart?.(this.controller, this.status, this.fields, this.message)
    for (const part of this.#parts.splice(0)) user.onResponseData?.(this.controller, part)
    if (this.#end !== undefined) this.#finish()
  }

  #finish(): void {
    const end = this.#end!
    if ('error' in end) this.#user?.onResponseError?.(this.controller, end.error)
    else this.#user?.onResponseEnd?.(this.controller, end.trailers)
  }
}

/** Passes everything on, until the head of a response is one that has to be looked at. */
class Watching implements Handler {
  readonly user: Handler
  readonly #attends: (head: { status: number; fields: Head }) => boolean
  taken: ((held: Held) => void) | undefined
  #held: Held | undefined

  constructor(user: Handler, attends: (head: { status: number; fields: Head }) => boolean) {
    this.user = user
    this.#attends = attends
  }

  onRequestStart(controller: Controller, context: unknown): void {
    this.user.onRequestStart?.(controller, context)
  }

  onRequestUpgrade(...args: Parameters<NonNullable<Handler['onRequestUpgrade']>>): void {
    this.user.onRequestUpgrade?.(...args)
  }

  onResponseStart(controller: Controller, status: number, fields: Head, message?: string): void {
    if (status >= 200 && this.#attends({ status, fields })) {
      this.#held = new Held(controller, status, fields, message)
      this.taken?.(this.#held)
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
    else this.user.onResponseError?.(controller, error)
  }
}

/** One request that an attempt drives. */
class Course implements Sender<Held> {
  readonly #dispatch: Dispatch
  readonly #opts: Options
  readonly #user: Handler
  readonly #hop: Hop
  readonly #over = new AbortController()
  #controller: Controller | undefined

  constructor(
    dispatch: Dispatch,
    opts: Options,
    origin: string,
    user: Handler,
    controller?: Controller,
  ) {
    this.#controller = controller
    this.#dispatch = dispatch
    this.#opts = opts
    this.#user = user
    const { method, body } = opts
    const replayable =
      body == null || typeof body === 'string' || body instanceof ArrayBuffer || ArrayBuffer.isView(body)
    const url = `${origin}${opts.path}`
    this.#hop = { method: method.toUpperCase(), url, origin, replayable, signal: this.#over.signal }
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
      (error: Error) => this.#user.onResponseError?.(this.#controller!, error),
    )
  }

  abort(error: Error): void {
    this.#over.abort(error)
  }

  send(headers: readonly string[]): Promise<Held> {
    return new Promise((resolve, reject) => {
      let held: Held | undefined
      const user = this.#user
      this.#dispatch(patched(this.#opts, headers), {
        onRequestStart: (controller, context) => {
          this.#controller = controller
          user.onRequestStart?.(controller, context)
        },
        onRequestUpgrade: (...args) => user.onRequestUpgrade?.(...args),
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
}

/** A handler of the older kind is translated by undici itself. */
function modern(handler: Handler): Handler {
  const isOlder = handler.onResponseStart === undefined && handler.onRequestStart === undefined
  return isOlder ? (new DecoratorHandler(handler) as unknown as Handler) : handler
}

function originOf(origin: string | URL | undefined): string | undefined {
  if (origin instanceof URL) return origin.origin
  if (origin === undefined || URL.canParse(origin) === false) return undefined
  // Most are written as an origin already.
  return new URL(origin).origin
}

function patched(opts: Options, turns: readonly string[]): Options {
  if (turns.length === 0) return opts
  const { headers } = opts
  const isSet = (name: string): boolean => turns.some((turn, at) => at % 2 === 0 && turn === name.toLowerCase())
  if (headers == null) return { ...opts, headers: turns as string[] }
  if (Array.isArray(headers)) {
    const kept: string[] = []
    for (let at = 0; at + 1 < headers.length; at += 2) {
      if (!isSet(String(headers[at]))) kept.push(String(headers[at]), String(headers[at + 1]))
    }
    return { ...opts, headers: [...kept, ...turns] }
  }
  const entries =
    Symbol.iterator in headers
      ? [...(headers as Iterable<[string, string | string[] | undefined]>)]
      : Object.entries(headers)
  const merged: Record<string, string | string[] | undefined> = {}
  for (const [name, value] of entries) if (!isSet(name)) merged[name] = value
  for (let at = 0; at + 1 < turns.length; at += 2) merged[turns[at]!] = turns[at + 1]!
  return { ...opts, headers: merged }
}
