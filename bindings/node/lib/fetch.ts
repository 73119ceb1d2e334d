import { NOTHING, type Patch } from './attempt'
import { bodyOf, isRepeatable, kindOf, readWithin } from './bodies'
import type { KeyswapError } from './errors'
import { type AdapterOptions, type Answer, BRIEF, type Hop, Keyed, MOST_HOPS, type Next, Patience, type Prepared, refuseQuery, type Sender, SMALL } from './flow'
import { unwrapped } from './here'
import type { KeySwap } from './keys'
import { bytesOf } from './options'

export interface FetchOptions extends AdapterOptions {
  /** What relative URLs are added to, and the first allowed origin. */
  baseURL?: string | URL
  /** The function that sends: unless it is given, the global one of that time. */
  fetch?: typeof globalThis.fetch
  /** That of requests which name none. */
  timeout?: number
}

export interface KeyedInit extends RequestInit {
  /** False: it is sent once, and a rejection is returned. */
  resend?: boolean
  /** What the keys must be good for: without all of these scopes nothing is sent. */
  scopes?: readonly string[]
  /**
   * In milliseconds, the most that all of it may take, its waits and the body of its response too. What
   * `AbortSignal.timeout` does, and more: no signal says when it will end, but of this it is known, so that shortly
   * before, a wait returns the response that there is.
   */
  timeout?: number
}

/** What `createFetch` makes. A rejection may say in `cause` why no fresh credential came. */
export type KeyedFetch = (
  input: string | URL | Request,
  init?: KeyedInit,
) => Promise<Response & { readonly cause?: KeyswapError }>

/**
 * A `fetch` whose requests live through rotations: a drop-in for the global one.
 *
 * ```ts
 * const fetch = createFetch(keys, { baseURL: 'https://api.example.com', scheme: header('x-api-key') })
 * await fetch('/v1/price/BTC')
 * ```
 *
 * Redirects are followed hop by hop, and a hop to an origin that is not allowed carries no credential. A
 * body that is a stream is sent once: if its credential is rejected, the API's response is returned. That of a
 * `Request` can be sent again if it is there at once and not larger than 16 MiB.
 */
export function createFetch(keys: KeySwap, options: FetchOptions = {}): KeyedFetch {
  refuseQuery(options.scheme, 'fetch')
  const base = options.baseURL === undefined ? undefined : new URL(options.baseURL)
  const keyed = new Keyed(keys, options, base === undefined ? [] : [base.origin])
  const send: typeof globalThis.fetch = options.fetch ?? ((url, init) => globalThis.fetch(url, init))
  limitOf(options.timeout)

  const place = base === undefined || base.username !== '' || base.password !== '' ? undefined : new Place(base)

  return async function fetch(input, init) {
    let request: Request | undefined
    let url: string | URL
    let origin: string
    const known = typeof input === 'string' ? place?.of(input) : undefined
    if (known !== undefined) {
      url = known
      origin = place!.origin
    } else {
      if (isRequest(input)) request = new (input.constructor as typeof Request)(input, init)
      const whole = request === undefined ? wholeURL(input as string | URL, base) : new URL(request.url)
      url = whole
      origin = whole.origin
    }
    const redirect = request?.redirect ?? init?.redirect ?? 'follow'
    const limit = limitOf(init?.timeout ?? options.timeout)
    const ended = request?.signal ?? init?.signal ?? undefined
    const patience = limit === undefined && ended === undefined ? ENDLESS : new Patience(limit, ended)
    const { signal } = patience
    const body = request === undefined ? init?.body : request.body && (await bodyOf(request.body, BRIEF))
    const resends = keyed.resends(init?.resend)
    const scopes = init?.scopes ?? NO_SCOPES
    let method = request?.method ?? init?.method ?? 'GET'
    // What the caller set, and what is the same on every hop.
    let plain: RequestInit =
      request === undefined
        ? { ...init, redirect: 'manual' }
        : { ...partsOf(request), redirect: 'manual', ...(body != null && { body: body as BodyInit, duplex: 'half' }) }
    if (signal !== undefined) plain.signal = signal
    let canRepeat = isRepeatable(body)
    let isAstray = false
    for (let hops = 0; ; hops += 1) {
      // Behind a hop that must not carry a credential, none does.
      isAstray ||= !keyed.lists(origin)
      const prepared: Prepared | undefined = isAstray ? undefined : keyed.prepared(origin)
      let carried = NOTHING
      let response: Response | undefined
      // Most requests go with what is prepared, and nothing is made for an attempt that they do not need.
      const isPlain = prepared !== undefined && scopes.length === 0 && !prepared.patch.names.some((name) => setsHeader(plain.headers, name))
      if (isPlain) {
        carried = prepared.patch
        try {
          response = await send(url, patched(plain, carried))
        } catch (error) {
          throw unwrapped(error)
        }
      }
      if (response === undefined || attends(keyed, response)) {
        const hop = new FetchHop(method.toUpperCase(), url, origin, canRepeat && resends, scopes, patience, plain)
        const sender = new Sending(send, url, plain, carried)
        if (response !== undefined) response = await keyed.conclude(prepared!, hop, sender, response)
        else response = await keyed.send(isAstray ? undefined : hop, prepared, sender, hasHeader)
        carried = sender.carried
      }
      const next: Next | undefined =
        redirect === 'manual' || response.status < 300 || response.status > 399
          ? undefined
          : keyed.follow({ method: method.toUpperCase(), url: hrefOf(url), origin }, response.status, response.headers.get('location'), carried)
      if (next === undefined) {
        if (hops > 0) Object.defineProperty(response, 'redirected', { value: true })
        return response
      }
      await readSmall(response)
      if (redirect === 'error') throw new TypeError('a redirect, where none is allowed')
      if (hops === MOST_HOPS) throw new TypeError('too many redirects')
      if (!next.dropsBody && plain.body != null && !canRepeat) {
        throw new TypeError('a redirect of a body that can be sent only once')
      }
      plain = patched({ ...plain, method: next.method }, NOTHING, next.drops)
      if (next.dropsBody) delete plain.body
      canRepeat ||= next.dropsBody
      method = next.method
      url = next.url
      origin = next.url.origin
    }
  }
}

/** A class, because accessors of a literal cost more than all else here. */
class FetchHop implements Hop {
  readonly method: string
  readonly url: string
  readonly origin: string
  readonly replayable: boolean
  readonly scopes: readonly string[]
  readonly #patience: Patience
  readonly #plain: RequestInit

  constructor(
    method: string, url: string | URL, origin: string, replayable: boolean, scopes: readonly string[], patience: Patience, plain: RequestInit,
  ) {
    this.method = method
    this.url = hrefOf(url)
    this.origin = origin
    this.replayable = replayable
    this.scopes = scopes
    this.#patience = patience
    this.#plain = plain
  }

  get signal(): AbortSignal | undefined {
    return this.#patience.signal
  }

  get left(): number | undefined {
    return this.#patience.left
  }

  sets(name: string): boolean {
    return setsHeader(this.#plain.headers, name)
  }

  async unsigned(): Promise<{ headers: readonly string[]; body: Uint8Array | undefined }> {
    const { headers, body } = this.#plain
    return { headers: headers == null ? [] : pairsOf(headers).flat(), body: await bytesOf(body) }
  }
}

/** How one hop is sent. */
class Sending implements Sender<Response> {
  readonly #send: typeof globalThis.fetch
  readonly #url: string | URL
  readonly #plain: RequestInit
  /** What the last send carried. */
  carried: Patch

  constructor(send: typeof globalThis.fetch, url: string | URL, plain: RequestInit, carried: Patch) {
    this.carried = carried
    this.#send = send
    this.#url = url
    this.#plain = plain
  }

  async send(patch: Patch): Promise<Response> {
    this.carried = patch
    const send = this.#send
    try {
      return await send(this.#url, patch.raw.length === 0 ? this.#plain : patched(this.#plain, patch))
    } catch (error) {
      throw unwrapped(error)
    }
  }

  answer(response: Response): Answer {
    return answer(response)
  }

  peek(response: Response, limit: number): Promise<{ body: Uint8Array; response: Response }> {
    return peek(response, limit)
  }

  async discard(response: Response): Promise<void> {
    await readSmall(response)
  }

  keep(response: Response): Promise<Response | undefined> {
    return keep(response)
  }

  blame(response: Response, cause: KeyswapError): void {
    Object.defineProperty(response, 'cause', { value: cause })
  }
}

function hasHeader(response: Response, name: string): boolean {
  return response.headers.has(name)
}

function attends(keyed: Keyed, { status, headers }: Response): boolean {
  return keyed.attends(status, (name) => headers.has(name))
}

/** Requests without a limit and without a signal have this one. */
const ENDLESS = new Patience(undefined)

const NO_SCOPES: readonly string[] = []

function limitOf(timeout: number | undefined): number | undefined {
  if (timeout === undefined || (typeof timeout === 'number' && timeout > 0)) return timeout
  throw new RangeError('timeout is a number of milliseconds, more than zero')
}

function isRequest(input: string | URL | Request): input is Request {
  return typeof input === 'object' && kindOf(input) === 'Request'
}

type HeadersInput = NonNullable<RequestInit['headers']>

function isHeaders(headers: HeadersInput): headers is Headers {
  return kindOf(headers) === 'Headers'
}

function setsHeader(headers: RequestInit['headers'], name: string): boolean {
  if (headers == null) return false
  if (isHeaders(headers)) return headers.has(name)
  return pairsOf(headers).some((pair) => pair[0].toLowerCase() === name)
}

function pairsOf(headers: HeadersInput): [string, string][] {
  const pairs = Symbol.iterator in headers ? [...(headers as Iterable<string[]>)] : Object.entries(headers)
  return pairs.map(([name, value]) => [String(name), String(value)])
}

/**
 * With the credential, and without what is dropped. Names keep their case, so headers stay what they are: `Headers`, of
 * whatever make, pairs, or a record. Making `Headers` costs more than all else here, so it is left to a caller who has some.
 */
function patched(plain: RequestInit, patch: Patch, drops: readonly string[] = []): RequestInit {
  const { headers } = plain
  if (headers == null) return { ...plain, headers: patch.reveal() }
  const turns = patch.raw
  const record: Record<string, string> = {}
  if (isHeaders(headers)) {
    const made = new (headers.constructor as typeof Headers)(headers)
    for (const name of drops) made.delete(name)
    for (let at = 0; at + 1 < turns.length; at += 2) made.set(turns[at]!, turns[at + 1]!)
    return { ...plain, headers: made }
  }
  const isGone = (name: string): boolean => {
    const own = name.toLowerCase()
    return drops.includes(own) || turns.some((turn, at) => at % 2 === 0 && turn.toLowerCase() === own)
  }
  if (Symbol.iterator in headers) {
    const pairs = pairsOf(headers).filter(([name]) => !isGone(name))
    for (let at = 0; at + 1 < turns.length; at += 2) pairs.push([turns[at]!, turns[at + 1]!])
    return { ...plain, headers: pairs }
  }
  for (const name of Object.keys(headers)) if (!isGone(name)) record[name] = headers![name]!
  for (let at = 0; at + 1 < turns.length; at += 2) record[turns[at]!] = turns[at + 1]!
  return { ...plain, headers: record }
}

function answer(response: Response): Answer {
  const headers: string[] = []
  for (const [name, value] of response.headers) headers.push(name, value)
  return { status: response.status, headers }
}

async function peek(
  response: Response,
  limit: number,
): Promise<{ body: Uint8Array; response: Response }> {
  const copy = response.clone()
  const parts: Uint8Array[] = []
  let size = 0
  if (copy.body !== null) {
    const reader = copy.body.getReader()
    while (size < limit) {
      const { done, value } = await reader.read()
      if (done) break
      parts.push(value)
      size += value.length
    }
    // The other copy is read by the caller, or not at all.
    void reader.cancel().catch(() => undefined)
  }
  return { body: Buffer.concat(parts).subarray(0, limit), response }
}

/**
 * Gives up a response. A small one is read to its end, so that its connection can be used again: if that does not come
 * soon, its connection is dropped. Says whether it came.
 */
async function readSmall({ body, headers }: Response): Promise<boolean> {
  if (body === null || typeof body?.getReader !== 'function') return true
  try {
    const reader = body.getReader()
    const isSmall = Number(headers.get('content-length') ?? 0) <= SMALL
    if (isSmall && (await readWithin(reader, SMALL, BRIEF)).isWhole) return true
    void reader.cancel().catch(() => undefined)
  } catch {
    // It broke off: there is nothing left of it.
  }
  return false
}

/** A copy that has the whole body, if it is small and there soon. */
async function keep(response: Response): Promise<Response | undefined> {
  const copy = response.clone()
  if (await readSmall(response)) return copy
  void copy.body?.cancel().catch(() => undefined)
  return undefined
}

function hrefOf(url: string | URL): string {
  return (typeof url === 'string' ? new URL(url) : url).href
}

/** The URLs below the base, which need not be read to know where they lead: most requests are for one of them. */
class Place {
  readonly origin: string
  readonly #root: string
  readonly #prefix: string

  constructor({ origin, pathname }: URL) {
    this.origin = origin
    this.#root = `${origin}/`
    this.#prefix = origin + pathname.replace(/\/$/, '')
  }

  /** The whole URL, if it is one of these. */
  of(input: string): string | undefined {
    if (input.startsWith(this.#root)) return input
    return /^\/[^/\\]/.test(input) || input === '/' ? this.#prefix + input : undefined
  }
}

/** Where an input leads. A path is one below the base, whose own path is kept. */
function wholeURL(input: string | URL, base: URL | undefined): URL {
  if (base === undefined || typeof input !== 'string' || !input.startsWith('/') || input.startsWith('//')) {
    return new URL(input, base)
  }
  return new URL(base.pathname.replace(/\/$/, '') + input, base)
}

function partsOf(request: Request): RequestInit {
  const { method, headers, signal, credentials, cache, integrity, keepalive, mode, referrerPolicy } = request
  return {
    method, headers, signal, credentials, cache, integrity, keepalive, referrerPolicy,
    ...(mode !== 'navigate' && { mode }),
  }
}
