// Answers every request at once with 200 bytes, on a free port of this machine, until stdin is closed. It prints its port.
// It reads no more of HTTP than it must, so that the client is what is measured.
import { createServer } from 'node:net'

const answer = Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 200\r\n\r\n${'x'.repeat(200)}`)
const server = createServer({ noDelay: true }, (socket) => {
  let ended = ''
  socket.on('error', () => socket.destroy())
  socket.on('data', (part) => {
    // Only requests without a body come here, one after another.
    ended = (ended + part.toString('latin1')).slice(-4)
    if (ended === '\r\n\r\n') socket.write(answer)
  })
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.on('end', () => process.exit(0)).resume()
