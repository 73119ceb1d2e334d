// An instance of axios: only its adapter is new.
import axios from 'axios'
import { header, KeySwap } from 'keyswap'
import { keyswapAdapter } from 'keyswap/axios'

const { KEYSWAP_SET_URL, API_URL } = process.env

const keys = await KeySwap.follow(KEYSWAP_SET_URL)
const adapter = keyswapAdapter(keys, { scheme: header('x-api-key'), allowedOrigins: [API_URL] })
const api = axios.create({ baseURL: API_URL, adapter, proxy: false })

const { data } = await api.get('/v1/price/BTC')
console.log(`${data.credential} was accepted`)
