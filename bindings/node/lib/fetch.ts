import { type AdapterOptions, type Answer, type Hop, Keyed, refuseQuery, type Sender } from './flow'
import { unwrapped } from './here'
import { follow, MOST_HOPS, OF_BODY, OF_ORIGIN } from './hops'
import type { KeySwap } from './keys'

export interface FetchOptions extends AdapterOptions {
  /** What relative URLs are added to, and the first allowed origin. */
  baseURL?: string | URL
  /** The function that sends: the global one, unless it is given. */
  fetch?: typeof globalThis.fetch
}

/** What `createFetch` makes: a `fetch` that can be told to send a request once. */
export type KeyedFetch = (
  input: string | URL | Request,
  init?: RequestInit & { resend?: boolean },
) => Promise<Response>

/** Bytes of a rejection that are read to keep its connection: less costly than to open another. */
const SMALL = 64 * 1024

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
    const signal = request?.signal ?? init?.signal ?? undefined
    const body = request === undefined ? init?.body : request.body
    const replayable = body == null || isReplayable(body)
    const resends = keyed.resends(init?.resend)
    let method = request?.method ?? init?.method ?? 'GET'
    // What the caller set, and what is the same on every hop.
    let plain: RequestInit =
      request === undefined
        ? { ...init, redirect: 'manual' }
        : { ...partsOf(request), redirect: 'manual', ...(body != null && { duplex: 'half' }) }
    let canRepeat = replayable
    for (let hops = 0; ; hops += 1) {
      const hop: Hop = {
        method: method.toUpperCase(), url: url.href, origin: url.origin, replayable: canRepeat && resends, signal,
        sets: (name) => plain.headers != null && setsHeader(plain.headers, name),
      }
      const response = await oneHop(keyed, send, url, plain, hop)
      const next = redirect === 'manual' ? undefined : nextOf(response, method, url)
      if (next === undefined) {
        if (hops > 0) Object.defineProperty(response, 'redirected', { value: true })
        return response
      }
      await drained(response)
      if (redirect === 'error') throw new TypeError('a redirect, where none is allowed')
      if (hops === MOST_HOPS) throw new TypeError('too many redirects')
      if (next.keepsBody && plain.body != null && !canRepeat) {
        throw new TypeError('a redirect of a body that can be sent only once')
      }
      const headers = new Headers(plain.headers)
      if (!next.keepsBody) for (const name of OF_BODY) headers.delete(name)
      if (next.isElsewhere) for (const name of [...OF_ORIGIN, ...keyed.names]) headers.delete(name)
      plain = { ...plain, method: next.method, headers }
      if (!next.keepsBody) delete plain.body
      canRepeat ||= !next.keepsBody
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
  hop: Hop,
): Promise<Response> {
  const { origin } = hop
  const sender: Sender<Response> = {
    send: async (headers) => {
      try {
        return await send(url, headers.length === 0 ? plain : patched(plain, headers))
      } catch (error) {
        throw unwrapped(error)
      }
    },
    answer,
    peek,
    discard: drained,
  }
  const prepared = keyed.prepared(origin)
  if (prepared === undefined && !keyed.admits(origin)) return sender.send([])
  if (keyed.leaves(hop)) return sender.send([])
  if (prepared === undefined) return keyed.begin(hop, sender)
  const response = await sender.send(prepared.headers)
  if (!keyed.attends(response.status, (name) => response.headers.has(name))) return response
  return keyed.conclude(prepared, hop, sender, response)
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

function nextOf(response: Response, method: string, url: URL): ReturnType<typeof follow> {
  if (response.status < 300 || response.status > 399) return undefined
  return follow(response.status, response.headers.get('location'), method, url)
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
