import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'

import axios, {
  AxiosError, type AxiosAdapter, AxiosHeaders, type AxiosResponse, CanceledError, type InternalAxiosRequestConfig,
} from 'axios'

import { NOTHING, type Patch } from './attempt'
import { isRepeatable } from './bodies'
import { decoded } from './decoding'
import { KeyswapError } from './errors'
import {
  type AdapterOptions, type Answer, type Hop, Keyed, MOST_HOPS, Patience, type Prepared, refuseQuery,
  type Sender,
} from './flow'
import { drained, ended, telling, type Transport } from './heads'
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
 * credential is rejected, the API's response is returned. A form of the package form-data is a stream if it holds one. A request says `resend: false` to be sent once, and
 * names the `scopes` without which it is not sent. Its
 * `timeout` is for all of it. Plain HTTP to this machine goes there directly, whatever proxy there is.
 */
export function keyswapAdapter(keys: KeySwap, options: AxiosOptions): AxiosAdapter {
  refuseOld(axios.VERSION)
  refuseQuery(options.scheme, 'axios')
  const keyed = new Keyed(keys, options)
  const inner = axios.getAdapter(options.adapter ?? ['http', 'fetch'])
  return async (config) => {
    const { maxRedirects = MOST_HOPS, validateStatus, timeout, cancelToken } = config
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
    if (resends) plain = written(plain)
    let canRepeat = isRepeatable(plain.data)
    let isAstray = false
    for (let hops = 0; ; hops += 1) {
      const hop = hopOf(plain, url, canRepeat && resends, scopes, patience)
      // Behind a hop that must not carry a credential, none does.
      isAstray ||= !keyed.lists(hop.origin)
      const prepared: Prepared | undefined = isAstray ? undefined : keyed.prepared(hop.origin)
      const sender = new Sending(inner, plain, url, patience)
      const give = (error: unknown): never => {
        throw shown(error, config, patience)
      }
      const got = await keyed
        .send(isAstray ? undefined : hop, prepared, sender, ({ headers }, name) => headers[name] !== undefined)
        .catch(give)
      const next = maxRedirects > 0 ? keyed.follow(hop, got.status, got.headers['location'], sender.carried) : undefined
      if (next === undefined) {
        const response = await got.whole.catch(give)
        // The library's own object holds the request as it was sent.
        response.request = { res: { responseUrl: url.href } }
        return settle(response, config, validateStatus, sender.cause)
      }
      void sender.discard(got)
      const request = { res: { responseUrl: url.href } }
      if (hops >= maxRedirects) {
        throw new AxiosError('Maximum number of redirects exceeded', 'ERR_FR_TOO_MANY_REDIRECTS', config, request)
      }
      if (!next.dropsBody && plain.data != null && !canRepeat) {
        throw new AxiosError('A redirect of a body that can be sent only once', AxiosError.ERR_BAD_REQUEST, config, request)
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

/** A response whose head is there. */
interface Got {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  /** What axios makes of it once it has come. */
  readonly whole: Promise<AxiosResponse>
  /** Where Node told of the head first. */
  readonly message?: IncomingMessage
}

/** How one hop is sent. */
class Sending implements Sender<Got> {
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

  send(patch: Patch): Promise<Got> {
    this.carried = patch
    const config = patched(this.#plain, this.#url, patch.raw, this.#patience)
    return new Promise((resolve, reject) => {
      // Over HTTP/2 axios has a transport of its own.
      if (Number(config.httpVersion) !== 2) {
        config.transport = telling(config.transport as Transport | undefined, this.#patience.left, (message) => {
          const { statusCode: status = 0, headers } = message
          resolve({ status, headers, whole, message })
        })
      }
      const whole = sent(this.#inner, config, patch.names)
      whole.then((response) => resolve({ status: response.status, headers: response.headers, whole }), reject)
    })
  }

  answer({ status, headers }: Got): Answer {
    const turns: string[] = []
    for (const [name, value] of Object.entries(headers)) {
      if (value != null) for (const each of [value].flat()) turns.push(name, String(each))
    }
    return { status, headers: turns }
  }

  async peek(got: Got, limit: number): Promise<{ body: Uint8Array; response: Got }> {
    const response = await got.whole
    const { data, headers } = response as { data: unknown; headers: Got['headers'] }
    let first: Uint8Array | undefined
    if (isStream(data)) [first, response.data] = await peeked(data, limit)
    else first = await bytesOf(data)
    // Axios takes the encoding off what it decoded.
    const body = { parts: [first ?? Buffer.alloc(0)], isEnded: true, more: async () => undefined }
    return { body: await decoded(String(headers['content-encoding'] ?? ''), body, limit), response: got }
  }

  async discard(got: Got): Promise<void> {
    await kept(got)
  }

  async keep(got: Got): Promise<Got | undefined> {
    return (await kept(got)) ? got : undefined
  }

  blame(_: Got, cause: KeyswapError): void {
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

/** Whether it came to its end soon, and can be returned later. Otherwise it is given up. */
async function kept({ message, whole }: Got): Promise<boolean> {
  if (message !== undefined && !(await ended(message))) return false
  const response = await whole.catch(() => undefined)
  if (response === undefined) return false
  const { data } = response as { data: unknown }
  // It was read, or else nobody will.
  if (isOfFetch(data)) void data.cancel().catch(() => undefined)
  else if (!isStream(data)) return true
  else if (message === undefined) void drained(data)
  return false
}

function isStream(data: unknown): data is Readable {
  return typeof data === 'object' && data !== null && 'resume' in data && typeof data.resume === 'function'
}

/** Whether it is a stream as the adapter of fetch gives it, of whatever realm. */
function isOfFetch(data: unknown): data is ReadableStream {
  return typeof data === 'object' && data !== null && 'cancel' in data && typeof data.cancel === 'function'
}

/** The first bytes of a stream, and the stream; another one in its place if that was all. */
async function peeked(stream: Readable, limit: number): Promise<[Buffer, Readable]> {
  const parts: Buffer[] = []
  let size = 0
  const end = await new Promise<{ error?: Error } | undefined>((resolve) => {
    const look = (): void => {
      for (let part: Buffer | null; size < limit && (part = stream.read() as Buffer | null) !== null; size += part.length) parts.push(part)
      if (size >= limit) done(undefined)
    }
    const broken = (error?: Error): void => done(error === undefined ? {} : { error })
    const done = (end: { error?: Error } | undefined): void => {
      stream.off('readable', look).off('end', broken).off('error', broken).off('close', broken)
      resolve(end)
    }
    stream.on('readable', look).on('end', broken).on('error', broken).on('close', broken)
  })
  const seen = Buffer.concat(parts)
  if (end === undefined) {
    stream.unshift(seen)
    return [seen, stream]
  }
  const again = async function* (): AsyncGenerator<Buffer> {
    yield seen
    if (end.error !== undefined) throw end.error
  }
  return [seen, Readable.from(again(), { objectMode: false })]
}

/**
 * The form of the package form-data, which `postForm` makes, is a stream that can be read once. One that holds only text
 * and bytes is written out.
 */
function written(plain: Config): Config {
  const form = plain.data as { _streams?: unknown; getBuffer?(): Buffer; getHeaders?(): Record<string, string> } | undefined
  if (typeof form?.getBuffer !== 'function' || typeof form.getHeaders !== 'function') return plain
  const parts = form._streams
  const isHere = (part: unknown): boolean => typeof part === 'string' || typeof part === 'function' || Buffer.isBuffer(part)
  if (!Array.isArray(parts) || !parts.every(isHere)) return plain
  const headers = AxiosHeaders.from(plain.headers.toJSON())
  headers.set(form.getHeaders())
  return { ...plain, headers, data: form.getBuffer() }
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
