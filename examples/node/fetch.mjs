// A fetch whose requests live through rotations.
import { createFetch, endpoint, header, KeySwap } from 'keyswap'

const { KEYSWAP_SET_URL, API_URL } = process.env

const keys = await KeySwap.follow(endpoint(KEYSWAP_SET_URL))
const fetch = createFetch(keys, { baseURL: API_URL, scheme: header('x-api-key') })

const response = await fetch('/v1/price/BTC')
console.log(`${(await response.json()).credential} was accepted`)
