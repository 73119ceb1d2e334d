/*
 * What Node's own HTTP tells before axios does: the head of a response, whose body may take its time, or never end.
 */
import http from 'node:http'
import https from 'node:https'
import type { Readable } from 'node:stream'

import { BRIEF, SMALL } from './flow'

/** What axios calls a transport. */
export interface Transport {
  request(options: http.RequestOptions, told: (message: http.IncomingMessage) => void): http.ClientRequest
}

/** The transport that sends, which tells of heads. `limit` is in milliseconds. */
export function telling(
  under: Transport | undefined,
  limit: number | undefined,
  head: (message: http.IncomingMessage) => void,
): Transport {
  return {
    request(options, told) {
      const transport = under ?? (options.protocol === 'https:' ? https : http)
      const request = transport.request(options, (message) => {
        told(message)
        head(message)
      })
      // With a transport of Node's own choice, axios counts the time that connecting takes, too.
      if (under === undefined && limit !== undefined) {
        const over = setTimeout(() => request.emit('timeout'), limit)
        const clear = (): void => clearTimeout(over)
        request.once('response', clear).once('close', clear)
      }
      return request
    },
  }
}

/** Waits until it has ended, for as long as it is small and soon there; then its connection is dropped. */
export async function ended(message: http.IncomingMessage): Promise<boolean> {
  if (Number(message.headers['content-length'] ?? 0) > SMALL) message.destroy()
  if (!message.complete && !message.destroyed) await drained(message)
  return message.complete
}

/** Reads to the end, for as long as it is small and soon there; then it is dropped. */
export async function drained(stream: Readable): Promise<void> {
  let size = 0
  const drop = (): void => void stream.destroy()
  const late = setTimeout(drop, BRIEF)
  stream.on('data', (part: Buffer) => {
    size += part.length
    if (size > SMALL) drop()
  })
  await new Promise<void>((resolve) => void stream.once('close', resolve).once('end', resolve).on('error', resolve))
  clearTimeout(late)
}
