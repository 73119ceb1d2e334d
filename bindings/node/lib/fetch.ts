import { NOTHING, type Patch } from './attempt'
import type { KeyswapError } from './errors'
import { type AdapterOptions, type Answer, BRIEF, type Hop, Keyed, MOST_HOPS, Patience, type Prepared, refuseQuery, type Sender, SMALL } from './flow'
import { unwrapped } from './here'
import type { KeySwap } from './keys'
import { bytesOf, rawOf } from './options'

export interface FetchOptions extends AdapterOptions {
  /** What relative URLs are added to, and the first allowed origin. */
  baseURL?: string | URL
  /** The function that sends: the global one, unless it is given. */
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
 * body that is a stream, or that of a `Request`, is sent once: if its credential is rejected, the API's
 * response is returned.
 */
export function createFetch(keys: KeySwap, options: FetchOptions = {}): KeyedFetch {
  refuseQuery(options.scheme, 'fetch')
  const base = options.baseURL === undefined ? undefined : new URL(options.baseURL)
  const keyed = new Keyed(keys, options, base === undefined ? [] : [base.origin])
  const send = options.fetch ?? globalThis.fetch
  limitOf(options.timeout)

  return async function fetch(input, init) {
    let request: Request | undefined
    let url: URL
    if (input instanceof Request) {
      request = new Request(input, init)
      url = new URL(request.url)
    } else {
      const isPath = base !== undefined && typeof input === 'string' && input.startsWith('/')
      url = isPath ? joined(base, input) : new URL(input, base)
    }
    const redirect = request?.redirect ?? init?.redirect ?? 'follow'
    const patience = new Patience(limitOf(init?.timeout ?? options.timeout), request?.signal ?? init?.signal ?? undefined)
    const { signal } = patience
    const body = request === undefined ? init?.body : request.body
    const replayable = body == null || isReplayable(body)
    const resends = keyed.resends(init?.resend)
    const scopes = init?.scopes ?? []
    let method = request?.method ?? init?.method ?? 'GET'
    // What the caller set, and what is the same on every hop.
    let plain: RequestInit =
      request === undefined
        ? { ...init, redirect: 'manual' }
        : { ...partsOf(request), redirect: 'manual', ...(body != null && { duplex: 'half' }) }
    if (signal !== undefined) plain.signal = signal
    let canRepeat = replayable
    let isAstray = false
    for (let hops = 0; ; hops += 1) {
      const hop: Hop = {
        method: method.toUpperCase(), url: url.href, origin: url.origin, replayable: canRepeat && resends, scopes, signal,
        get left() {
          return patience.left
        },
        sets: (name) => plain.headers != null && setsHeader(plain.headers, name),
        unsigned: async () => ({ headers: rawOf(new Headers(plain.headers)), body: await bytesOf(plain.body) }),
      }
      // Behind a hop that must not carry a credential, none does.
      isAstray ||= !keyed.lists(url.origin)
      const prepared: Prepared | undefined = isAstray ? undefined : keyed.prepared(url.origin)
      const [response, carried] = await oneHop(keyed, send, url, plain, isAstray ? undefined : hop, prepared)
      const next =
        redirect === 'manual'
          ? undefined
          : keyed.follow(hop, response.status, response.headers.get('location'), carried)
      if (next === undefined) {
        if (hops > 0) Object.defineProperty(response, 'redirected', { value: true })
        return response
      }
      await drained(response)
      if (redirect === 'error') throw new TypeError('a redirect, where none is allowed')
      if (hops === MOST_HOPS) throw new TypeError('too many redirects')
      if (!next.dropsBody && plain.body != null && !canRepeat) {
        throw new TypeError('a redirect of a body that can be sent only once')
      }
      const headers = new Headers(plain.headers)
      for (const name of next.drops) headers.delete(name)
      plain = { ...plain, method: next.method, headers }
      if (next.dropsBody) delete plain.body
      canRepeat ||= next.dropsBody
      method = next.method
      url = next.url
    }
  }
}

async function oneHop(
  keyed: Keyed,
  send: typeof globalThis.fetch,
  url: URL,
  plain: RequestInit,
  hop: Hop | undefined,
  prepared: Prepared | undefined,
): Promise<[Response, Patch]> {
  let carried = NOTHING
  const sender: Sender<Response> = {
    send: async (patch) => {
      carried = patch
      try {
        return await send(url, patch.raw.length === 0 ? plain : patched(plain, patch.raw))
      } catch (error) {
        throw unwrapped(error)
      }
    },
    answer,
    peek,
    discard: drained,
    keep,
    blame: (response, cause) => void Object.defineProperty(response, 'cause', { value: cause }),
  }
  const response = await keyed.send(hop, prepared, sender, (response, name) => response.headers.has(name))
  return [response, carried]
}

function limitOf(timeout: number | undefined): number | undefined {
  if (timeout === undefined || (typeof timeout === 'number' && timeout > 0)) return timeout
  throw new RangeError('timeout is a number of milliseconds, more than zero')
}

function setsHeader(headers: NonNullable<RequestInit['headers']>, name: string): boolean {
  if (headers instanceof Headers) return headers.has(name)
  const names = Symbol.iterator in headers ? [...headers].map((pair) => pair[0]!) : Object.keys(headers)
  return names.some((own) => own.toLowerCase() === name)
}

/** With the credential. Making `Headers` costs more than all else here, so it is left to a caller who has some. */
function patched(plain: RequestInit, turns: readonly string[]): RequestInit {
  const { headers } = plain
  if (headers !== undefined && (Array.isArray(headers) || Symbol.iterator in headers)) {
    const made = new Headers(headers)
    for (let at = 0; at + 1 < turns.length; at += 2) made.set(turns[at]!, turns[at + 1]!)
    return { ...plain, headers: made }
  }
  const record: Record<string, string> = {}
  for (const name of Object.keys(headers ?? {})) {
    const isSet = turns.some((turn, at) => at % 2 === 0 && turn === name.toLowerCase())
    if (!isSet) record[name] = headers![name]!
  }
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

/** Gives up a response. A small one is read to its end, so that its connection can be used again. */
async function drained(response: Response): Promise<void> {
  const length = Number(response.headers.get('content-length') ?? Infinity)
  try {
    if (length <= SMALL) await response.arrayBuffer()
    else await response.body?.cancel()
  } catch {
    // It broke off: there is nothing left of it.
  }
}

/** A copy that has the whole body, if it is small and there soon. */
async function keep(response: Response): Promise<Response | undefined> {
  const copy = response.clone()
  const reader = response.body?.getReader()
  if (reader === undefined) return copy
  let size = 0
  let isLate = false
  let isWhole = false
  const over = setTimeout(() => {
    isLate = true
    void reader.cancel().catch(() => undefined)
  }, BRIEF)
  try {
    while (size <= SMALL && !isWhole) {
      const { done, value } = await reader.read()
      isWhole = done && !isLate
      if (done) break
      size += value.length
    }
  } catch {
    // It broke off.
  } finally {
    clearTimeout(over)
  }
  if (isWhole && size <= SMALL) return copy
  void reader.cancel().catch(() => undefined)
  void copy.body?.cancel().catch(() => undefined)
  return undefined
}

/** A path below the base, whose own path is kept. */
function joined(base: URL, path: string): URL {
  return path.startsWith('//') ? new URL(path, base) : new URL(base.pathname.replace(/\/$/, '') + path, base)
}

function isReplayable(body: unknown): boolean {
  return (
    typeof body === 'string' ||
    body instanceof ArrayBuffer ||
    ArrayBuffer.isView(body) ||
    body instanceof URLSearchParams ||
    body instanceof Blob ||
    body instanceof FormData
  )
}

function partsOf(request: Request): RequestInit {
  const { method, headers, body, signal, credentials, cache, integrity, keepalive, mode, referrerPolicy } = request
  return {
    method, headers, body, signal, credentials, cache, integrity, keepalive, referrerPolicy,
    ...(mode !== 'navigate' && { mode }),
  }
}
