// An SDK that takes a function gets each fresh key. Here it talks to a server of this program.
import { createServer } from 'node:http'

import { KeySwap } from 'keyswap'
import OpenAI from 'openai'

const server = createServer((request, response) => {
  const id = request.headers.authorization === `Bearer ${keys.key()}` ? 'the fresh key' : 'another one'
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ object: 'list', data: [{ id }] }))
}).listen(0, '127.0.0.1')

const keys = await KeySwap.follow(process.env.KEYSWAP_SET_URL)
const openai = new OpenAI({ apiKey: keys.akey, baseURL: `http://127.0.0.1:${server.address().port}` })

const models = await openai.models.list()
console.log(`the server saw ${models.data[0].id}`)
server.closeAllConnections()
server.close()
