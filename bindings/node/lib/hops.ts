/* Redirects, followed hop by hop as the fetch standard says: what a hop to another origin must not take along. */

/** The most redirects that one request follows, as in the core. */
export const MOST_HOPS = 10

export interface Next {
  readonly url: URL
  readonly method: string
  readonly keepsBody: boolean
  readonly isElsewhere: boolean
}

/** Headers that are about the body. */
export const OF_BODY = ['content-encoding', 'content-language', 'content-length', 'content-location', 'content-type']
/** Headers that are for one origin. */
export const OF_ORIGIN = ['authorization', 'cookie', 'host', 'proxy-authorization']

/** Where a response leads; undefined if it leads nowhere. */
export function follow(
  status: number,
  location: string | null | undefined,
  method: string,
  from: URL,
): Next | undefined {
  if (![301, 302, 303, 307, 308].includes(status) || location == null) return undefined
  // The error of a URL that does not parse would show it, and the one that it was added to.
  if (!URL.canParse(location, from)) throw new TypeError('a redirect leads to what is not a URL')
  const url = new URL(location, from)
  if (url.hash === '') url.hash = from.hash
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new TypeError('a redirect leads to what is not HTTP')
  }
  const upper = method.toUpperCase()
  const becomesGet =
    (status === 303 && upper !== 'GET' && upper !== 'HEAD') ||
    ((status === 301 || status === 302) && upper === 'POST')
  return {
    url,
    method: becomesGet ? 'GET' : method,
    keepsBody: !becomesGet,
    isElsewhere: url.origin !== from.origin,
  }
}
