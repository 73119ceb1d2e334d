// What Node programs send with, each in the same form, and a server that says what it was sent.
import http from 'node:http'

import axios from 'axios'
import { Client, createFetch } from 'keyswap'
import { keyswapAdapter } from 'keyswap/axios'
import { keyswapInterceptor } from 'keyswap/undici'
import { Agent, interceptors, request } from 'undici'

import { KEY, once } from './world.mjs'

/** Each way to send: a URL and options to a status and a text. */
export const WAYS = {
  client(world, keys, more) {
    const api = new Client(keys, { baseURL: world.apiUrl, scheme: KEY, ...more })
    return async (url, { method = 'GET', ...options } = {}) => {
      const response = await api.request(method, url, options)
      return { status: response.status, text: await response.text(), headers: response.headers, url: response.url }
    }
  },
  fetch(world, keys, more) {
    const fetch = createFetch(keys, { baseURL: world.apiUrl, scheme: KEY, ...more })
    return async (url, options) => {
      const response = await fetch(url, options)
      return { status: response.status, text: await response.text(), headers: response.headers, url: response.url }
    }
  },
  undici(world, keys, more) {
    const keyed = keyswapInterceptor(keys, { allowedOrigins: [world.apiUrl], scheme: KEY, ...more })
    const dispatcher = new Agent().compose(keyed, interceptors.redirect({ maxRedirections: 5 }))
    return async (url, options) => {
      const whole = url.startsWith('/') ? world.apiUrl + url : url
      const { statusCode, body, headers } = await request(whole, { dispatcher, ...options })
      return { status: statusCode, text: await body.text(), headers: new Headers(Object.entries(headers).map(([n, v]) => [n, String(v)])) }
    }
  },
  /** Nothing is outside of the interceptor: handlers are of the kind that undici itself uses. */
  'undici alone'(world, keys, more) {
    const keyed = keyswapInterceptor(keys, { allowedOrigins: [world.apiUrl], scheme: KEY, ...more })
    const dispatcher = new Agent().compose(keyed)
    return async function send(url, options) {
      const whole = new URL(url, world.apiUrl)
      const { statusCode, body, headers } = await request(whole, { dispatcher, ...options })
      const text = await body.text()
      if (headers.location !== undefined) return send(new URL(headers.location, whole))
      return { status: statusCode, text }
    }
  },
  axios(world, keys, more) {
    const adapter = keyswapAdapter(keys, { allowedOrigins: [world.apiUrl], scheme: KEY, ...more })
    const api = axios.create({ baseURL: world.apiUrl, adapter, validateStatus: null, responseType: 'text', proxy: false })
    return async (url, { body, ...options } = {}) => {
      const response = await api.request({ url, data: body, ...options })
      return { status: response.status, text: response.data, headers: response.headers, url: response.request.res.responseUrl }
    }
  },
}

/** A server that says what it was sent. */
export async function echo(t, answer) {
  const server = http.createServer(async (message, response) => {
    const parts = []
    try {
      for await (const part of message) parts.push(part)
    } catch {
      return // The body broke off.
    }
    const { method, url, headers } = message
    answer({ method, url, headers, body: Buffer.concat(parts).toString() }, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${server.address().port}`
}

export function told(seen, response) {
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(seen))
}
