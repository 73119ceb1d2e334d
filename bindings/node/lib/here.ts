/*
 * Plain HTTP to this machine: a request with a credential goes straight there, or not at all.
 *
 * What sends for undici and for fetch does not say whether it knows a proxy, and may decide that for each request.
 * But undici says on a channel of diagnostics which socket it is about to write the head of a request to. A head
 * with a credential, for a plain origin of this machine, whose socket leads elsewhere, is broken off there and then:
 * nothing was written. So a name like localhost that leads to another machine is found, too. Other requests pass,
 * and nobody listens before the first such credential.
 */
import { subscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'

import { KeyswapError } from './errors'

interface Watched {
  readonly port: number
  /** How the lines of the headers begin that hold a credential, in lower case. */
  readonly lines: string[]
}

/** By origin. */
const watched = new Map<string, Watched>()

/** Whether this is plain HTTP to this machine. */
export function isHere(origin: string): boolean {
  if (!origin.startsWith('http:')) return false
  const { hostname } = new URL(origin)
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.[\d.]+$/.test(hostname)
}

/** From now on, requests to this origin with one of these headers go straight there, if it is a plain one of this machine. */
export function keepHere(origin: string, turns: readonly string[]): void {
  if (turns.length === 0 || !isHere(origin)) return
  if (watched.size === 0) subscribe('undici:client:sendHeaders', (message) => look(message as Sent))
  const { port, lines } = watched.get(origin) ?? { port: Number(new URL(origin).port || 80), lines: [] }
  watched.set(origin, { port, lines })
  for (let at = 0; at < turns.length; at += 2) {
    const line = `\r\n${turns[at]!.toLowerCase()}: `
    if (!lines.includes(line)) lines.push(line)
  }
}

/** What undici tells before it writes. */
interface Sent {
  readonly request: { readonly origin?: string | URL; readonly path: string }
  readonly headers: string
  readonly socket: Socket
}

function look({ request, headers, socket }: Sent): void {
  // To a proxy that passes plain requests on, the path is the whole URL.
  const origin = originOf(request.path.startsWith('http:') ? request.path : request.origin)
  const found = origin === undefined ? undefined : watched.get(origin)
  if (found === undefined) return
  const { remoteAddress, remotePort } = socket
  // Without an address it is a socket of the file system, or closed.
  if (remoteAddress === undefined) return
  if (remotePort === found.port && /^(::1$|(::ffff:)?127\.)/.test(remoteAddress)) return
  const written = headers.toLowerCase()
  if (!found.lines.some((line) => written.includes(line))) return
  const what =
    `${origin} is plain http on this machine, but would have been reached through a proxy or on another machine: ` +
    'nothing was sent; use a dispatcher that goes there directly, or name the host in NO_PROXY'
  socket.destroy(new KeyswapError('insecure_url', what))
}

function originOf(origin: string | URL | undefined): string | undefined {
  if (origin instanceof URL) return origin.origin
  if (origin === undefined || !origin.startsWith('http:') || watched.has(origin)) return origin
  return URL.canParse(origin) ? new URL(origin).origin : undefined
}

/** One of another realm, too. */
function isError(value: unknown): value is Error {
  return typeof value === 'object' && value !== null && 'message' in value
}

/** The error of this library that another one has wrapped, if there is one. */
export function unwrapped(error: unknown): unknown {
  let inner = error
  for (let depth = 0; depth < 4 && isError(inner); depth += 1) {
    if (inner instanceof KeyswapError) return inner
    inner = inner.cause
  }
  return error
}
