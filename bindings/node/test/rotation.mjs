// A program that goes through rotations with each library, in whatever runtime runs it: it says what it saw, in JSON.
import axios from 'axios'
import { Client, createFetch, header, KeySwap } from 'keyswap'
import { keyswapAdapter } from 'keyswap/axios'
import { keyswapInterceptor } from 'keyswap/undici'
import { Agent, request } from 'undici'

const { SET_URL, API_URL, CONTROL_URL, BOOTSTRAP, LIBRARIES = 'client fetch undici axios' } = process.env
// As a program does that reads its secrets itself.
process.env.KEYSWAP_BOOTSTRAP = BOOTSTRAP

const policy = { fetchFloor: 50, fetchFloorMin: 50 }
const scheme = header('X-API-Key')
const options = { scheme, allowedOrigins: [API_URL] }
const body = JSON.stringify({ order: 1 })

/** Each way to post. */
const ways = {
  client: (keys) => async (path) => (await new Client(keys, { baseURL: API_URL, scheme }).post(path, { body })).json(),
  fetch: (keys) => async (path) => (await createFetch(keys, { baseURL: API_URL, scheme })(path, { method: 'POST', body })).json(),
  undici(keys) {
    const dispatcher = new Agent().compose(keyswapInterceptor(keys, options))
    return async (path) => (await request(API_URL + path, { dispatcher, method: 'POST', body })).body.json()
  },
  axios(keys) {
    const api = axios.create({ baseURL: API_URL, adapter: keyswapAdapter(keys, options), proxy: false })
    return async (path) => (await api.post(path, body)).data
  },
}

async function main() {
  const said = {}
  for (const name of LIBRARIES.split(' ')) {
    const keys = await KeySwap.follow(SET_URL, { policy })
    const swapped = []
    keys.on('swapped', ({ to }) => swapped.push(to))
    const send = ways[name](keys)
    const before = (await send('/v1/orders')).credential
    await fetch(`${CONTROL_URL}/step`, { method: 'POST', body: JSON.stringify({ do: 'cut' }) })
    const answers = await Promise.all(Array.from({ length: 50 }, () => send('/v1/orders')))
    const after = [...new Set(answers.map(({ credential }) => credential))]
    said[name] = after.length === 1 && after[0] !== before && swapped.join() === after[0]
    keys.close()
  }
  console.log(JSON.stringify(said))
}

void main()
