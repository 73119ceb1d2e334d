// A library with and without keyswap: client.mjs KIND URL SECONDS prints the CPU microseconds of a request of both, threads
// and kernel included. They take turns in short slices of one process, so that a machine that has other work, or changes its
// speed, does so to both. 64 requests are under way at any time, on connections that are kept.
import { createFetch, header, KeySwap } from 'keyswap'
import { keyswapInterceptor } from 'keyswap/undici'
import { Agent, fetch as undiciFetch, request } from 'undici'

const AT_ONCE = 64
const KEY = 'k'.repeat(40)
const HEADERS = { 'x-api-key': KEY }
const [kind, url, seconds] = process.argv.slice(2)
const origin = new URL(url).origin

const followed = () => KeySwap.follow(() => ({ current: { id: 'k1', key: KEY } }))

/** Each reads the whole answer, and gives its length. */
const CLIENTS = {
  async undici() {
    const dispatcher = new Agent({ connections: AT_ONCE })
    return async () => (await (await request(url, { dispatcher, headers: HEADERS })).body.text()).length
  },
  async 'undici, keyed'() {
    const keyed = keyswapInterceptor(await followed(), { scheme: header('x-api-key'), allowedOrigins: [origin] })
    const dispatcher = new Agent({ connections: AT_ONCE }).compose(keyed)
    return async () => (await (await request(url, { dispatcher })).body.text()).length
  },
  async fetch() {
    return async () => (await (await fetch(url, { headers: HEADERS })).text()).length
  },
  async 'fetch, keyed'() {
    const keyed = createFetch(await followed(), { baseURL: origin, scheme: header('x-api-key') })
    return async () => (await (await keyed(url)).text()).length
  },
  async 'undici-fetch'() {
    return async () => (await (await undiciFetch(url, { headers: HEADERS })).text()).length
  },
  async 'undici-fetch, keyed'() {
    const keyed = createFetch(await followed(), { baseURL: origin, scheme: header('x-api-key'), fetch: undiciFetch })
    return async () => (await (await keyed(url)).text()).length
  },
}

const SLICE = 200

/** CPU and requests of one slice, whose last request has ended. */
async function slice(get, total) {
  const until = performance.now() + SLICE
  const began = process.cpuUsage()
  async function run() {
    while (performance.now() < until) {
      if ((await get()) !== 200) throw new Error('not the whole answer')
      total.sent += 1
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, run))
  const { user, system } = process.cpuUsage(began)
  total.us += user + system
}

const bare = await CLIENTS[kind]()
const keyed = await CLIENTS[`${kind}, keyed`]()
const fresh = () => ({ us: 0, sent: 0 })
// The compiler has seen everything by then.
for (let nth = 0; nth < 5; nth += 1) for (const get of [bare, keyed]) await slice(get, fresh())
const [without, having] = [fresh(), fresh()]
for (let spent = 0; spent < Number(seconds) * 1000; spent += 4 * SLICE) {
  await slice(bare, without)
  await slice(keyed, having)
  await slice(keyed, having)
  await slice(bare, without)
}
console.log(JSON.stringify({ bare: without.us / without.sent, keyed: having.us / having.sent }))
process.exit(0)
