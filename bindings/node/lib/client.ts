import { inspect } from 'node:util'
import { isAnyArrayBuffer } from 'node:util/types'

import * as native from '../native'
import { writtenFor } from './authorizer'
import { isBytes, isRepeatable } from './bodies'
import { fromNative, givenUpBy, KeyswapError, settled, told } from './errors'
import type { ClientFields, KeyedOptions } from './generated/options'
import { Credential, type KeySwap } from './keys'
import { asRecord, type HeaderInput, rawOf, seconds, written } from './options'
import { type Classifier, judge, type SignFunction, signed } from './schemes'

type BodyInput =
  | string | Uint8Array | ArrayBuffer | URLSearchParams | Blob | FormData
  | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array | string>

export interface ClientOptions extends KeyedOptions, ClientFields {
  /** Further keys, for requests that pass `keys: 'name'`. */
  named?: Readonly<Record<string, KeySwap>>
}

export interface RequestOptions {
  headers?: HeaderInput
  /** Bytes, text, or a stream, which can be sent only once. */
  body?: BodyInput | null
  /** Sent as JSON. */
  json?: unknown
  query?: Readonly<Record<string, string | number | boolean | undefined>>
  signal?: AbortSignal
  timeout?: number | null
  /** The name of further keys. */
  keys?: string
  /** What the credential must be good for. */
  scopes?: readonly string[]
  /** False: it is sent once, and a rejection is returned. */
  resend?: boolean
}

/**
 * An HTTP client whose requests live through rotations; they are sent by the core.
 *
 * ```ts
 * const api = new Client(keys, { baseURL: 'https://api.example.com', scheme: header('x-api-key') })
 * const price = await (await api.get('/v1/price/BTC')).raiseForStatus().json()
 * ```
 */
export class Client {
  readonly #native: native.NativeClient
  readonly #timeout: number | null

  constructor(keys: KeySwap, options: ClientOptions = {}) {
    const { classifier, scheme, named = {}, timeout = 30_000, baseURL, retries, maxRedirects } = options
    this.#timeout = timeout
    const spec = written({ baseUrl: baseURL === undefined ? undefined : String(baseURL), retries, maxRedirects })
    const raw = rawOf(options.headers)
    spec['headers'] = raw.flatMap((name, at) => (at % 2 === 0 ? [[name, raw[at + 1]]] : []))
    const names = Object.keys(named)
    this.#native = told(
      native.NativeClient.of(
        keys.native,
        writtenFor(options),
        JSON.stringify(spec),
        names,
        names.map((name) => named[name]!.native),
        classifier === undefined ? null : judging(classifier),
        scheme?.make === undefined ? null : signing(scheme.make),
      ),
    )
  }

  /** Sends a request, through any rotation. A response of any status is not an error. */
  async request(method: string, url: string | URL, options: RequestOptions = {}): Promise<ClientResponse> {
    const { json, query, signal, scopes = [] } = options
    let { body } = options
    const headers = rawOf(options.headers)
    const has = (name: string): boolean =>
      headers.some((turn, at) => at % 2 === 0 && turn.toLowerCase() === name)
    if (json !== undefined) {
      if (body != null) throw new TypeError('pass body or json, not both')
      body = JSON.stringify(json)
      if (!has('content-type')) headers.push('content-type', 'application/json')
    } else if (typeof body === 'object' && isRepeatable(body) && !isBytes(body)) {
      const made = new Response(body as URLSearchParams | Blob | FormData)
      const type = made.headers.get('content-type')
      if (type !== null && !has('content-type')) headers.push('content-type', type)
      body = await made.arrayBuffer()
    }
    const timeout = options.timeout === undefined ? this.#timeout : options.timeout
    const order: native.Order = {
      method: method.toUpperCase(),
      url: withQuery(String(url), query),
      headers,
      ...(timeout !== null && { timeout: seconds(timeout)! }),
      ...(options.keys !== undefined && { keys: options.keys }),
      scopes: [...scopes],
      resend: options.resend ?? true,
    }
    const whole = wholeOf(body)
    const stream = body == null || whole !== null ? null : pumped(body as AsyncIterable<Uint8Array | string>)
    try {
      const reply = await givenUpBy<native.NativeReply>(signal, new native.Job(), (job) =>
        this.#native.send(order, whole, stream?.body ?? null, job),
      )
      return new ClientResponse(reply, signal)
    } catch (error) {
      // What broke the body off is what went wrong.
      if (stream?.failed !== undefined) throw stream.failed
      throw error
    } finally {
      stream?.body.close(false)
    }
  }

  get(url: string | URL, options?: RequestOptions): Promise<ClientResponse> {
    return this.request('GET', url, options)
  }

  post(url: string | URL, options?: RequestOptions): Promise<ClientResponse> {
    return this.request('POST', url, options)
  }

  put(url: string | URL, options?: RequestOptions): Promise<ClientResponse> {
    return this.request('PUT', url, options)
  }

  patch(url: string | URL, options?: RequestOptions): Promise<ClientResponse> {
    return this.request('PATCH', url, options)
  }

  delete(url: string | URL, options?: RequestOptions): Promise<ClientResponse> {
    return this.request('DELETE', url, options)
  }

  head(url: string | URL, options?: RequestOptions): Promise<ClientResponse> {
    return this.request('HEAD', url, options)
  }
}

/** What the API answered; its body is read once. */
export class ClientResponse {
  readonly #native: native.NativeReply
  readonly #signal: AbortSignal | undefined
  #headers: Headers | undefined
  #body: ReadableStream<Uint8Array> | undefined
  #isUsed = false
  readonly status: number

  /** @internal */
  constructor(reply: native.NativeReply, signal: AbortSignal | undefined) {
    this.#native = reply
    this.#signal = signal
    this.status = reply.status
  }

  /** Whether the status is from 200 to 299. */
  get ok(): boolean {
    return this.status >= 200 && this.status < 300
  }

  get headers(): Headers {
    if (this.#headers === undefined) {
      const turns = this.#native.headers
      this.#headers = new Headers()
      for (let at = 0; at + 1 < turns.length; at += 2) this.#headers.append(turns[at]!, turns[at + 1]!)
    }
    return this.#headers
  }

  /** Of a rejection: why no fresh credential came. */
  get cause(): KeyswapError | undefined {
    const { cause } = this.#native
    return cause == null ? undefined : fromNative(cause)
  }

  /** The URL that answered, after redirects; without what a scheme added. */
  get url(): string {
    return this.#native.url
  }

  get bodyUsed(): boolean {
    return this.#isUsed
  }

  /** The body as it arrives. */
  get body(): ReadableStream<Uint8Array> {
    if (this.#body === undefined) {
      this.#use()
      const next = (): Promise<Uint8Array | null> =>
        givenUpBy(this.#signal, new native.Job(), (job) => this.#native.next(job))
      this.#body = new ReadableStream<Uint8Array>(
        {
          async pull(controller) {
            const part = await next()
            if (part == null) controller.close()
            else controller.enqueue(part)
          },
          cancel: () => this.#native.close(),
        },
        { highWaterMark: 0 },
      )
    }
    return this.#body
  }

  async bytes(): Promise<Uint8Array> {
    this.#use()
    return givenUpBy(this.#signal, new native.Job(), (job) => this.#native.rest(job))
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    const { buffer, byteOffset, byteLength } = await this.bytes()
    return buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer
  }

  async text(): Promise<string> {
    return new TextDecoder().decode(await this.bytes())
  }

  async json<T = unknown>(): Promise<T> {
    return JSON.parse(await this.text()) as T
  }

  /** The response itself. Throws a `KeyswapError` with code `status` and this `cause` if its status is 400 or more. */
  raiseForStatus(): this {
    const { error } = this.#native
    if (error != null) throw fromNative(error, this.cause)
    return this
  }

  /** Leaves the rest of the body unread. */
  close(): void {
    this.#isUsed = true
    this.#native.close()
  }

  [inspect.custom](): string {
    return `ClientResponse { ${this.status} }`
  }

  #use(): void {
    if (this.#isUsed) throw new TypeError('the body was read already')
    this.#isUsed = true
  }
}

/** A classifier as the core asks it, from another thread. */
function judging(
  classifier: Classifier,
): (judgement: native.Judgement, status: number, headers: string[], body?: Uint8Array | null) => void {
  return (judgement, status, headers, body) =>
    judgement.said(judge(classifier, { status, headers: asRecord(headers), body: body ?? undefined }))
}

/** A signature as the core asks for it, from another thread. */
function signing(
  make: SignFunction,
): (to: native.Signed, credential: native.NativeCredential, unsigned: native.Unsigned) => void {
  return (to, credential, { method, url, headers, body, now }) => {
    const request = { method, url, headers: asRecord(headers), body: body ?? undefined, now: new Date(now) }
    void signed(make, new Credential(credential), request).then(({ headers, query, failed }) => {
      to.made(headers, query, failed)
    })
  }
}

function withQuery(url: string, query: RequestOptions['query']): string {
  if (query === undefined) return url
  const written = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) written.append(name, String(value))
  }
  const added = written.toString()
  return added === '' ? url : `${url}${url.includes('?') ? '&' : '?'}${added}`
}

function wholeOf(body: unknown): Uint8Array | null {
  if (typeof body === 'string') return Buffer.from(body)
  if (isAnyArrayBuffer(body)) return new Uint8Array(body)
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength)
  if (body == null) return null
  if (typeof body === 'object' && Symbol.asyncIterator in body) return null
  throw new TypeError('a body is bytes, text, a Blob, FormData, URLSearchParams, or a stream')
}

interface Pumped {
  readonly body: native.NativeBody
  failed: unknown
}

function pumped(parts: AsyncIterable<Uint8Array | string>): Pumped {
  const pump: Pumped = { body: new native.NativeBody(), failed: undefined }
  void (async () => {
    try {
      for await (const part of parts) {
        const bytes = typeof part === 'string' ? Buffer.from(part) : part
        if (!(await settled<boolean>(pump.body.send(bytes)))) return
      }
      pump.body.close(true)
    } catch (error) {
      pump.failed = error ?? new KeyswapError('transport', 'the body broke off')
      pump.body.close(false)
    }
  })()
  return pump
}
