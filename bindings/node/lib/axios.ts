import axios, {
  AxiosError, type AxiosAdapter, AxiosHeaders, type AxiosResponse, CanceledError, type InternalAxiosRequestConfig,
} from 'axios'

import { NOTHING, type Patch } from './attempt'
import { KeyswapError } from './errors'
import {
  type AdapterOptions, type Answer, type Hop, Keyed, MOST_HOPS, Patience, type Prepared, refuseQuery,
  type Sender,
} from './flow'
import { isHere, unwrapped } from './here'
import type { KeySwap } from './keys'
import { bytesOf, rawOf } from './options'
import { forget, lookupHere, straight } from './wire'

type Config = InternalAxiosRequestConfig

export interface AxiosOptions extends AdapterOptions {
  /** The adapter that sends, or its name: axios's own choice, unless it is given. */
  adapter?: AxiosAdapter | string
}

/** Before this version, axios sends a request over https to the proxy of HTTPS_PROXY in the clear, with all its headers. */
const OLDEST = [1, 16, 1] as const

/**
 * An adapter for axios whose requests live through rotations, around the one that sends.
 *
 * ```ts
 * const api = axios.create({
 *   baseURL: 'https://api.example.com',
 *   adapter: keyswapAdapter(keys, { scheme: header('x-api-key'), allowedOrigins: ['https://api.example.com'] }),
 * })
 * ```
 *
 * Interceptors and transforms run once, around all sends. Redirects are followed here, hop by hop, and a hop
 * to an origin that is not allowed carries no credential. A body that is a stream is sent once: if its
 * credential is rejected, the API's response is returned. A request says `resend: false` to be sent once, and
 * names the `scopes` without which it is not sent. Its
 * `timeout` is for all of it. Plain HTTP to this machine goes there directly, whatever proxy there is.
 */
export function keyswapAdapter(keys: KeySwap, options: AxiosOptions): AxiosAdapter {
  refuseOld(axios.VERSION)
  refuseQuery(options.scheme, 'axios')
  const keyed = new Keyed(keys, options)
  const inner = axios.getAdapter(options.adapter ?? ['http', 'fetch'])
  return async (config) => {
    const { maxRedirects = MOST_HOPS, validateStatus, data, timeout, cancelToken } = config
    const { resend, scopes = [] } = config as { resend?: unknown; scopes?: readonly string[] }
    const resends = keyed.resends(resend)
    const patience = new Patience(
      timeout !== undefined && timeout > 0 ? Number(timeout) : undefined,
      config.signal as AbortSignal | undefined,
      cancelToken && new axios.CancelToken((cancel) => void cancelToken.promise.then(() => cancel())).toAbortSignal(),
    )
    let url = new URL(axios.getUri(config))
    let plain: Config = {
      ...config,
      headers: AxiosHeaders.from(config.headers.toJSON()),
      maxRedirects: 0,
      validateStatus: null,
    }
    let canRepeat = isReplayable(data)
    let isAstray = false
    for (let hops = 0; ; hops += 1) {
      const hop = hopOf(plain, url, canRepeat && resends, scopes, patience)
      // Behind a hop that must not carry a credential, none does.
      isAstray ||= !keyed.lists(hop.origin)
      const prepared: Prepared | undefined = isAstray ? undefined : keyed.prepared(hop.origin)
      const sender = new Sending(inner, plain, url, patience)
      const response = await keyed
        .send(isAstray ? undefined : hop, prepared, sender, ({ headers }, name) => headers[name] !== undefined)
        .catch((error: unknown) => {
          throw shown(error, config, patience)
        })
      // The library's own object holds the request as it was sent.
      response.request = { res: { responseUrl: url.href } }
      const next = maxRedirects > 0 ? keyed.follow(hop, response.status, response.headers['location'], sender.carried) : undefined
      if (next === undefined) return settle(response, config, validateStatus, sender.cause)
      drained(response)
      if (hops >= maxRedirects) {
        throw new AxiosError('Maximum number of redirects exceeded', 'ERR_FR_TOO_MANY_REDIRECTS', config, response.request)
      }
      if (!next.dropsBody && plain.data != null && !canRepeat) {
        throw new AxiosError('A redirect of a body that can be sent only once', AxiosError.ERR_BAD_REQUEST, config, response.request)
      }
      const headers = AxiosHeaders.from(plain.headers.toJSON())
      headers.delete([...next.drops])
      const { params: _, baseURL: __, auth, ...rest } = plain
      const isHome = next.url.origin === url.origin
      plain = { ...rest, headers, method: next.method, ...(isHome && auth !== undefined && { auth }) }
      if (next.dropsBody) delete plain.data
      canRepeat ||= next.dropsBody
      url = next.url
    }
  }
}

function refuseOld(version: string): void {
  const parts = version.split(/[.-]/, 3).map(Number)
  const at = OLDEST.findIndex((oldest, at) => parts[at] !== oldest)
  if (at === -1 || parts[at]! > OLDEST[at]!) return
  const what =
    `axios ${version} sends requests over https to a proxy in the clear, with their credentials: ` +
    `install axios ${OLDEST.join('.')} or newer`
  throw new KeyswapError('invalid_config', what)
}

function hopOf(plain: Config, url: URL, replayable: boolean, scopes: readonly string[], patience: Patience): Hop {
  return {
    method: (plain.method ?? 'get').toUpperCase(),
    url: url.href,
    origin: url.origin,
    replayable,
    scopes,
    get signal() {
      return patience.signal
    },
    get left() {
      return patience.left
    },
    // With a user and a password, axios replaces the header.
    sets: (name) => plain.headers.has(name) || (name === 'authorization' && (plain.auth != null || url.username !== '')),
    unsigned: async () => ({ headers: rawOf(plain.headers.toJSON(true) as Record<string, string>), body: await bytesOf(plain.data) }),
  }
}

/** How one hop is sent. */
class Sending implements Sender<AxiosResponse> {
  readonly #inner: AxiosAdapter
  readonly #plain: Config
  readonly #url: URL
  readonly #patience: Patience
  /** What the last send carried. */
  carried = NOTHING
  /** Why no fresh credential came. */
  cause: KeyswapError | undefined

  constructor(inner: AxiosAdapter, plain: Config, url: URL, patience: Patience) {
    this.#inner = inner
    this.#plain = plain
    this.#url = url
    this.#patience = patience
  }

  send(patch: Patch): Promise<AxiosResponse> {
    this.carried = patch
    return sent(this.#inner, patched(this.#plain, this.#url, patch.raw, this.#patience), patch.names)
  }

  answer({ status, headers }: AxiosResponse): Answer {
    const turns: string[] = []
    for (const [name, value] of Object.entries(headers)) {
      if (value != null) for (const each of [value].flat()) turns.push(name, String(each))
    }
    return { status, headers: turns }
  }

  async peek(response: AxiosResponse, limit: number): Promise<{ body: Uint8Array; response: AxiosResponse }> {
    const { data } = response as { data: unknown }
    let body: Buffer
    if (typeof data === 'string') body = Buffer.from(data)
    else if (data instanceof ArrayBuffer) body = Buffer.from(data)
    else if (ArrayBuffer.isView(data)) body = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    // A stream cannot be looked at and passed on.
    else body = Buffer.alloc(0)
    return { body: body.subarray(0, limit), response }
  }

  async discard(response: AxiosResponse): Promise<void> {
    drained(response)
  }

  async keep(response: AxiosResponse): Promise<AxiosResponse | undefined> {
    if (!isStream(response.data)) return response
    drained(response)
    return undefined
  }

  blame(_: AxiosResponse, cause: KeyswapError): void {
    this.cause = cause
  }
}

/** One send. Whatever comes of it, what axios and Node keep of it holds no credential afterwards. */
async function sent(inner: AxiosAdapter, config: Config, names: readonly string[]): Promise<AxiosResponse> {
  try {
    const response = await inner(config)
    forget(response.request, names)
    return response
  } catch (error) {
    if (error instanceof AxiosError) forget(error.request, names)
    throw unwrapped(error)
  } finally {
    config.headers.delete([...names])
  }
}

/** A copy, so that the configuration that axios shows never holds a credential. */
function patched(plain: Config, url: URL, turns: readonly string[], patience: Patience): Config {
  const headers = AxiosHeaders.from(plain.headers.toJSON())
  for (let at = 0; at + 1 < turns.length; at += 2) headers.set(turns[at]!, turns[at + 1]!)
  const { params: _, baseURL: __, ...rest } = plain
  const { left } = patience
  const limit = left === undefined ? {} : { timeout: left, timeoutErrorMessage: saidOf(plain) }
  const direct =
    turns.length > 0 && isHere(url.origin)
      ? { proxy: false as const, httpAgent: straight(plain.httpAgent), lookup: lookupHere as NonNullable<Config['lookup']> }
      : {}
  return { ...rest, ...limit, ...direct, url: url.href, headers }
}

/** An error as axios would have told it, which holds the configuration that the program gave. */
function shown(error: unknown, config: Config, patience: Patience): unknown {
  if (patience.ended(error)) {
    const isClear = config.transitional?.clarifyTimeoutError === true
    return new AxiosError(saidOf(config), isClear ? AxiosError.ETIMEDOUT : AxiosError.ECONNABORTED, config)
  }
  const isGivenUp = config.signal?.aborted === true || config.cancelToken?.reason !== undefined
  if (isGivenUp && !axios.isCancel(error)) return new CanceledError(undefined, config)
  return cleaned(error, config)
}

function saidOf({ timeoutErrorMessage, timeout }: Config): string {
  return timeoutErrorMessage ?? `timeout of ${timeout}ms exceeded`
}

/** An error of the adapter that sends holds the request as it was sent; what a program sees must not. */
function cleaned(error: unknown, config: Config): unknown {
  if (error instanceof AxiosError) {
    error.config = config
    delete error.request
    if (error.response !== undefined) {
      error.response.config = config
      delete error.response.request
    }
    if (error.cause instanceof AxiosError) cleaned(error.cause, config)
  }
  return error
}

/** A body that nobody will read. */
function drained(response: AxiosResponse): void {
  const { data } = response as { data: unknown }
  if (isStream(data)) data.resume()
}

function isStream(data: unknown): data is { resume(): void } {
  return typeof data === 'object' && data !== null && 'resume' in data && typeof data.resume === 'function'
}

/** What axios's own adapters do last, with the configuration that the program gave. */
function settle(
  response: AxiosResponse,
  config: Config,
  validateStatus: Config['validateStatus'],
  cause: KeyswapError | undefined,
): AxiosResponse {
  response.config = config
  if (validateStatus == null || validateStatus(response.status)) return response
  const code = response.status < 500 ? AxiosError.ERR_BAD_REQUEST : AxiosError.ERR_BAD_RESPONSE
  const what = `Request failed with status code ${response.status}`
  const error = new AxiosError(what, code, config, response.request, response)
  if (cause !== undefined) error.cause = cause
  throw error
}

function isReplayable(data: unknown): boolean {
  return data == null || typeof data === 'string' || data instanceof ArrayBuffer || ArrayBuffer.isView(data)
}
