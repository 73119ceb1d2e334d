// An agent of undici: only its composition is new.
import { header, KeySwap } from 'keyswap'
import { keyswapInterceptor } from 'keyswap/undici'
import { Agent, interceptors, request } from 'undici'

const { KEYSWAP_SET_URL, API_URL } = process.env

const keys = await KeySwap.follow(KEYSWAP_SET_URL)
const keyed = keyswapInterceptor(keys, { scheme: header('x-api-key'), allowedOrigins: [API_URL] })
const dispatcher = new Agent().compose(keyed, interceptors.redirect({ maxRedirections: 5 }))

const { statusCode, body } = await request(`${API_URL}/v1/price/BTC`, { dispatcher })
console.log(`${statusCode}: ${(await body.json()).credential} was accepted`)
await dispatcher.close()
