// An HTTP library of the program's own, which an attempt drives; and a signature of each request. Typed.
import { createHmac } from 'node:crypto'
import { request } from 'node:http'

import { Authorizer, header, KeySwap, setLogger, sign } from 'keyswap'

const { KEYSWAP_SET_URL, API_URL } = process.env as Record<string, string>

/** What stands for that library: it knows nothing of keys. */
function get(url: string, headers: Record<string, string>): Promise<{ status: number; headers: Record<string, string>; text: string }> {
  return new Promise((resolve, reject) => {
    request(url, { headers }, (response) => {
      let text = ''
      response.on('data', (part) => (text += part))
      response.on('end', () => {
        const { statusCode = 0, headersDistinct } = response
        const entries = Object.entries(headersDistinct).map(([name, values]) => [name, values!.join(', ')])
        resolve({ status: statusCode, headers: Object.fromEntries(entries), text })
      })
    }).on('error', reject).end()
  })
}

/** One request, through any rotation. */
async function keyed(authorizer: Authorizer, url: string): Promise<string> {
  const attempt = authorizer.begin(url)
  try {
    let response
    for (let step = attempt.step; step !== 'return'; ) {
      if (step === 'fail') throw attempt.error
      if (step === 'wait') {
        step = await attempt.wait()
        continue
      }
      const patch = await attempt.apply('GET', url)
      response = await get(patch.revealURL(url), patch.reveal())
      step = attempt.response(response.status, response.headers)
    }
    return `${response!.status}: ${response!.text}`
  } finally {
    attempt.close()
  }
}

async function main(): Promise<void> {
  setLogger((level, target, message) => console.log(`${level} ${target}: ${message}`))
  const keys = await KeySwap.follow(KEYSWAP_SET_URL!)
  const plain = new Authorizer(keys, { scheme: header('x-api-key'), allowedOrigins: [API_URL!] })
  console.log(await keyed(plain, `${API_URL}/v1/price/BTC`))
  // An API that wants signatures would be asked so; this one wants the key as well.
  const scheme = sign((credential, { method, url, now }) => {
    const text = `${method} ${new URL(url).pathname} ${now.getTime()}`
    const mac = createHmac('sha256', credential.reveal()).update(text).digest('hex')
    return { headers: { 'x-api-key': credential.reveal(), 'x-time': String(now.getTime()), 'x-sign': mac } }
  })
  console.log(await keyed(new Authorizer(keys, { scheme, allowedOrigins: [API_URL!] }), `${API_URL}/v1/price/BTC`))
  keys.close()
}

void main()
