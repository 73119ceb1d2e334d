/*
 * What Node's own HTTP keeps of a request: the credential is taken off it once the request has been sent, and plain
 * HTTP to this machine gets an agent that knows no proxy.
 */
import http from 'node:http'

const MASK = '***'

/** Takes these headers off a request that was sent: responses hold it, and programs print them. */
export function forget(request: unknown, names: readonly string[]): void {
  if (typeof request !== 'object' || request === null || names.length === 0) return
  if (request instanceof http.OutgoingMessage) masked(request, names)
  // A request of HTTP/2.
  const { sentHeaders } = request as { sentHeaders?: Record<string, unknown> }
  if (typeof sentHeaders === 'object' && sentHeaders !== null) {
    for (const name of names) if (name in sentHeaders) sentHeaders[name] = MASK
  }
}

function masked(request: http.OutgoingMessage, names: readonly string[]): void {
  const sent = request as unknown as { _header: string | null }
  const head = sent._header
  // Headers can be set as long as there is no head.
  sent._header = null
  for (const name of names) if (request.hasHeader(name)) request.setHeader(name, MASK)
  if (head === null) return
  const lines = head.split('\r\n').map((line) => {
    const name = names.find((name) => line.toLowerCase().startsWith(`${name}:`))
    return name === undefined ? line : `${line.slice(0, name.length)}: ${MASK}`
  })
  sent._header = lines.join('\r\n')
}

/** The agent for plain HTTP to this machine: the given one, unless it may know a proxy or other addresses. */
export function straight(agent: unknown): http.Agent | undefined {
  if (isPlain(agent ?? http.globalAgent)) return agent as http.Agent | undefined
  return (own ??= new http.Agent({ keepAlive: true }))
}

let own: http.Agent | undefined

function isPlain(agent: unknown): boolean {
  if (!(agent instanceof http.Agent) || Object.getPrototypeOf(agent) !== http.Agent.prototype) return false
  const { proxyEnv, lookup } = (agent as http.Agent & { options: object }).options as { proxyEnv?: unknown; lookup?: unknown }
  return proxyEnv == null && lookup === undefined && !Object.hasOwn(agent, 'createConnection')
}

interface Address {
  address: string
  family: 4 | 6
}

/** Whatever a resolver says: names of this machine lead to this machine. */
export function lookupHere(
  _: string,
  options: { all?: boolean; family?: number | string },
  tell: (error: Error | null, address: Address[]) => void,
): void {
  const both: Address[] = [{ address: '127.0.0.1', family: 4 }, { address: '::1', family: 6 }]
  const wanted = both.filter(({ family }) => !options.family || String(options.family).endsWith(String(family)))
  process.nextTick(tell, null, wanted)
}
