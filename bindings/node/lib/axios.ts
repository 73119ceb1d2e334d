import axios, {
  AxiosError, type AxiosAdapter, AxiosHeaders, type AxiosResponse, type InternalAxiosRequestConfig,
} from 'axios'

import { type Answer, Keyed, type KeyedOptions, refuseQuery, type Sender } from './flow'
import { follow, MOST_HOPS, OF_BODY, OF_ORIGIN } from './hops'
import type { KeySwap } from './keys'

export interface AxiosOptions extends KeyedOptions {
  /** The adapter that sends, or its name: axios's own choice, unless it is given. */
  adapter?: AxiosAdapter | string
}

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
 * credential is rejected, the API's response is returned.
 */
export function keyswapAdapter(keys: KeySwap, options: AxiosOptions): AxiosAdapter {
  refuseQuery(options.scheme, 'axios')
  const keyed = new Keyed(keys, options)
  const inner = axios.getAdapter(options.adapter ?? ['http', 'fetch'])
  return async (config) => {
    const { maxRedirects = MOST_HOPS, validateStatus, data } = config
    const replayable = isReplayable(data)
    let url = new URL(axios.getUri(config))
    let plain: InternalAxiosRequestConfig = {
      ...config,
      headers: AxiosHeaders.from(config.headers.toJSON()),
      maxRedirects: 0,
      validateStatus: null,
    }
    let canRepeat = replayable
    for (let hops = 0; ; hops += 1) {
      const response = await oneHop(keyed, inner, plain, url, canRepeat).catch((error: unknown) => {
        throw cleaned(error, config)
      })
      // The library's own object holds the request as it was sent, with its credential.
      response.request = { res: { responseUrl: url.href } }
      const location: unknown = response.headers['location']
      const method = plain.method ?? 'get'
      const next =
        maxRedirects > 0
          ? follow(response.status, typeof location === 'string' ? location : null, method, url)
          : undefined
      if (next === undefined) return settle(response, config, validateStatus)
      drained(response)
      if (hops >= maxRedirects) {
        throw new AxiosError('Maximum number of redirects exceeded', 'ERR_FR_TOO_MANY_REDIRECTS', config, response.request)
      }
      if (next.keepsBody && data != null && !replayable) {
        throw new AxiosError('A redirect of a body that can be sent only once', AxiosError.ERR_BAD_REQUEST, config, response.request)
      }
      const headers = AxiosHeaders.from(plain.headers.toJSON())
      if (!next.keepsBody) headers.delete(OF_BODY)
      if (next.isElsewhere) headers.delete(OF_ORIGIN)
      const { params: _, baseURL: __, auth, ...rest } = plain
      plain = { ...rest, headers, method: next.method, ...(!next.isElsewhere && auth !== undefined && { auth }) }
      if (!next.keepsBody) delete plain.data
      canRepeat = replayable || !next.keepsBody
      url = next.url
    }
  }
}

async function oneHop(
  keyed: Keyed,
  inner: AxiosAdapter,
  plain: InternalAxiosRequestConfig,
  url: URL,
  replayable: boolean,
): Promise<AxiosResponse> {
  const { origin } = url
  const sender: Sender<AxiosResponse> = {
    send: (turns) => inner(patched(plain, url, turns)),
    answer,
    peek,
    discard: async (response) => drained(response),
  }
  const prepared = keyed.prepared(origin)
  if (prepared === undefined && !keyed.admits(origin)) return sender.send([])
  const signal = plain.signal as AbortSignal | undefined
  const method = (plain.method ?? 'get').toUpperCase()
  const hop = { method, url: url.href, origin, replayable, signal }
  if (prepared === undefined) return keyed.begin(hop, sender)
  const response = await sender.send(prepared.headers)
  const has = (name: string): boolean => response.headers[name] !== undefined
  if (!keyed.attends(response.status, has)) return response
  return keyed.conclude(prepared, hop, sender, response)
}

/** A copy, so that the configuration that axios shows never holds a credential. */
function patched(
  plain: InternalAxiosRequestConfig,
  url: URL,
  turns: readonly string[],
): InternalAxiosRequestConfig {
  const headers = AxiosHeaders.from(plain.headers.toJSON())
  for (let at = 0; at + 1 < turns.length; at += 2) headers.set(turns[at]!, turns[at + 1]!)
  const { params: _, baseURL: __, ...rest } = plain
  return { ...rest, url: url.href, headers }
}

function answer(response: AxiosResponse): Answer {
  const headers: string[] = []
  for (const [name, value] of Object.entries(response.headers)) {
    if (value != null) for (const each of [value].flat()) headers.push(name, String(each))
  }
  return { status: response.status, headers }
}

async function peek(
  response: AxiosResponse,
  limit: number,
): Promise<{ body: Uint8Array; response: AxiosResponse }> {
  const { data } = response as { data: unknown }
  let body: Buffer
  if (typeof data === 'string') body = Buffer.from(data)
  else if (data instanceof ArrayBuffer) body = Buffer.from(data)
  else if (ArrayBuffer.isView(data)) body = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  // A stream cannot be looked at and passed on.
  else body = Buffer.alloc(0)
  return { body: body.subarray(0, limit), response }
}

/** An error of the adapter that sends holds the request as it was sent; what a program sees must not. */
function cleaned(error: unknown, config: InternalAxiosRequestConfig): unknown {
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
  if (typeof data === 'object' && data !== null && 'resume' in data && typeof data.resume === 'function') {
    data.resume()
  }
}

/** What axios's own adapters do last, with the configuration that the program gave. */
function settle(
  response: AxiosResponse,
  config: InternalAxiosRequestConfig,
  validateStatus: InternalAxiosRequestConfig['validateStatus'],
): AxiosResponse {
  response.config = config
  if (validateStatus == null || validateStatus(response.status)) return response
  const code = response.status < 500 ? AxiosError.ERR_BAD_REQUEST : AxiosError.ERR_BAD_RESPONSE
  const what = `Request failed with status code ${response.status}`
  throw new AxiosError(what, code, config, response.request, response)
}

function isReplayable(data: unknown): boolean {
  return data == null || typeof data === 'string' || data instanceof ArrayBuffer || ArrayBuffer.isView(data)
}
