// Each library with keyswap added, and alone with a key that is put on by hand: the two must do the same.
import { Readable } from 'node:stream'

import axios from 'axios'
import { Client, createFetch, header } from 'keyswap'
import { keyswapAdapter } from 'keyswap/axios'
import { keyswapInterceptor } from 'keyswap/undici'
import * as undiciPackage from 'undici'
import { Agent, fetch as undiciFetch, FormData as UndiciFormData, Request as UndiciRequest, request } from 'undici'

/** With this key, put on by hand. */
function aloneOver(send, own, key) {
  return overFetch((input, options) => {
    if (input instanceof own.Request) input.headers.set(NAME, key)
    return send(input, input instanceof own.Request ? options : { ...options, headers: { ...options.headers, [NAME]: key } })
  }, own)
}

/** As an API writes it. */
export const NAME = 'X-MEXC-APIKEY'
const scheme = header(NAME)

/** All of a response, or each part as it comes. */
async function whole(response, onPart) {
  const { status, headers } = response
  if (onPart === undefined) return { status, text: await response.text(), headers }
  for await (const part of response.body) onPart(Buffer.from(part).toString())
  return { status, headers }
}

function overFetch(send, own) {
  return async (url, { body, onPart, ...options }) => {
    if (body instanceof own.Request) return whole(await send(body, options), onPart)
    return whole(await send(url, { ...options, body, ...(isStream(body) && { duplex: 'half' }) }), onPart)
  }
}

function isStream(body) {
  return typeof body?.getReader === 'function' || typeof body?.next === 'function'
}

async function overUndici({ statusCode, headers, body }, onPart) {
  if (onPart === undefined) return { status: statusCode, text: await body.text(), headers }
  for await (const part of body) onPart(part.toString())
  return { status: statusCode, headers }
}

function overAxios(api, responseType = 'text') {
  return async (url, { body, onPart, ...options }) => {
    const config = { url, responseType, validateStatus: null, ...options }
    const { status, headers, data } =
      body?.postForm === undefined ? await api.request({ ...config, data: body }) : await api.postForm(url, body.postForm, config)
    if (onPart === undefined) return { status, headers, text: responseType === 'stream' ? await textOf(data) : data }
    for await (const part of responseType === 'stream' ? data : [data]) onPart(part.toString())
    return { status, headers }
  }
}

function axiosWith(keys, url, { proxy = false, ...more } = {}) {
  return axios.create({ proxy, adapter: keyswapAdapter(keys, { allowedOrigins: [url], scheme, ...more }) })
}

/** A dispatcher of the program's own, `base`, with what it composes outside of the keys. */
function composed({ base = new Agent(), outer = [] }, ...keyed) {
  const interceptors = [...keyed, ...outer]
  return interceptors.length === 0 ? base : base.compose(...interceptors)
}

function keyedDispatcher(keys, url, { base, outer, ...more } = {}) {
  return composed({ base, outer }, keyswapInterceptor(keys, { allowedOrigins: [url], scheme, ...more }))
}

function throughUndici(dispatcher) {
  return (url, options) => undiciFetch(url, { ...options, dispatcher })
}

/** What Node has built in speaks as undici 7 does. */
function throughGlobal(dispatcher) {
  const { Dispatcher1Wrapper: Wrapper } = undiciPackage
  const spoken = Wrapper === undefined ? dispatcher : new Wrapper(dispatcher)
  return (url, options) => fetch(url, { ...options, dispatcher: spoken })
}

async function textOf(stream) {
  const parts = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts).toString()
}

const keyOf = (key) => ({ [NAME]: key })
const own = globalThis
const undici = { Request: UndiciRequest, FormData: UndiciFormData }

/** With keyswap: a way to send. Alone: the same with this key. `makes` says which copies of the platform it knows. */
export const ADAPTERS = {
  client: {
    makes: own,
    keyed(keys, url, more) {
      const api = new Client(keys, { baseURL: url, scheme, retries: 0, ...more })
      return async (url, { method, onPart, ...options }) => whole(await api.request(method, url, options), onPart)
    },
  },
  fetch: {
    makes: own,
    keyed: (keys, url, more) => overFetch(createFetch(keys, { baseURL: url, scheme, ...more }), own),
    alone: (key) => aloneOver(fetch, own, key),
  },
  "fetch, undici's": {
    makes: undici,
    keyed: (keys, url, { base, ...more } = {}) => overFetch(createFetch(keys, { baseURL: url, scheme, fetch: throughUndici(base), ...more }), undici),
    alone: (key, { base } = {}) => aloneOver(throughUndici(base), undici, key),
  },
  undici: {
    makes: undici,
    keyed(keys, url, more) {
      const dispatcher = keyedDispatcher(keys, url, more)
      return async (url, { onPart, ...options }) => overUndici(await request(url, { ...options, dispatcher }), onPart)
    },
    alone(key, more = {}) {
      const dispatcher = composed(more)
      return async (url, { headers, onPart, ...options }) =>
        overUndici(await request(url, { ...options, headers: { ...headers, ...keyOf(key) }, dispatcher }), onPart)
    },
  },
  'fetch through undici': {
    makes: undici,
    keyed: (keys, url, more) => overFetch(throughUndici(keyedDispatcher(keys, url, more)), undici),
    alone: (key, more = {}) => aloneOver(throughUndici(composed(more)), undici, key),
  },
  'global fetch through undici': {
    makes: own,
    keyed: (keys, url, more) => overFetch(throughGlobal(keyedDispatcher(keys, url, more)), own),
    alone: (key, more = {}) => aloneOver(throughGlobal(composed(more)), own, key),
  },
  axios: {
    makes: own,
    keyed: (keys, url, more) => overAxios(axiosWith(keys, url, more)),
    alone: (key, { proxy = false } = {}) => overAxios(axios.create({ proxy, headers: keyOf(key) })),
  },
  'axios, as a stream': {
    makes: own,
    keyed: (keys, url, more) => overAxios(axiosWith(keys, url, more), 'stream'),
    alone: (key, { proxy = false } = {}) => overAxios(axios.create({ proxy, headers: keyOf(key) }), 'stream'),
  },
}

/** Bodies that can be had again. A function makes one, of the copies of the platform that a library knows. */
export function bodiesOf(name, { makes }) {
  const form = () => {
    const made = new makes.FormData()
    made.append('a', '1')
    made.append('file', new Blob(['of a file'], { type: 'text/plain' }), 'file.txt')
    return made
  }
  const bodies = {
    text: () => 'text',
    bytes: () => Buffer.from('text'),
    'an ArrayBuffer': () => new Uint8Array([1, 2, 3]).buffer,
    'a Blob': () => new Blob(['te', 'xt'], { type: 'text/x-own' }),
    'a FormData': form,
    'a URLSearchParams': () => new URLSearchParams({ a: '1 2' }),
  }
  // It takes it for an iterator, of what it cannot send.
  if (name === 'undici') delete bodies['a URLSearchParams']
  if (name.includes('fetch')) {
    bodies['a Request'] = (url) => new makes.Request(url, { method: 'POST', body: 'text' })
    bodies['a Request with a form'] = (url) => new makes.Request(url, { method: 'POST', body: form() })
  }
  if (name.startsWith('axios')) bodies.postForm = () => ({ postForm: { a: '1', b: [2, 3], file: Buffer.from('bytes') } })
  return bodies
}

/** Those that cannot. */
export function streamsOf(name) {
  async function* iterator() {
    yield Buffer.from('text')
  }
  const readable = () => Readable.from([Buffer.from('text')])
  if (name.startsWith('axios')) return { 'a Readable': readable }
  const streams = { 'an async iterator': () => iterator() }
  if (name === 'undici') streams['a Readable'] = readable
  if (name !== 'undici') streams['a ReadableStream'] = () => new Blob(['text']).stream()
  return streams
}
