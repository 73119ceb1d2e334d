// The SDK of OpenAI, in two ways. A function for the key gives each request a fresh one; what the API rejects is not sent
// again. With a fetch of keyswap beneath, it is.
import { bearer, createFetch, KeySwap } from 'keyswap'
import OpenAI from 'openai'

const { KEYSWAP_SET_URL, API_URL } = process.env
const keys = await KeySwap.follow(KEYSWAP_SET_URL)

/** The id of the credential that the API saw. A program would ask for a completion here. */
const who = async (openai) => (await openai.models.retrieve('any')).credential

console.log(`a function for the key: ${await who(new OpenAI({ apiKey: keys.akey, baseURL: API_URL }))}`)

const fetch = createFetch(keys, { scheme: bearer(), allowedOrigins: [API_URL] })
// The header that the SDK would send is taken away: keyswap puts it on.
const defaultHeaders = { authorization: null }
console.log(`a fetch: ${await who(new OpenAI({ apiKey: 'none', baseURL: API_URL, fetch, defaultHeaders }))}`)
