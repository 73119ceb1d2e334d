package dev.keyswap

import java.io.BufferedInputStream
import java.io.ByteArrayOutputStream
import java.io.IOException
import java.io.InputStream
import java.io.OutputStream
import java.net.InetAddress
import java.net.ServerSocket
import java.net.Socket
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.CopyOnWriteArrayList
import kotlin.concurrent.thread

/** One request, as it stood on the wire. */
class Heard(val line: String, val fields: List<Pair<String, String>>, val body: String, private val socket: Socket) {
    /** Of its headers, in their spelling. */
    val names: List<String> get() = fields.map { it.first }
    val connection: Int get() = socket.port

    operator fun get(name: String): String? = fields.firstOrNull { it.first.equals(name, ignoreCase = true) }?.second

    /** Waits until the other side ends the connection. */
    fun awaitEnd() {
        try {
            check(socket.getInputStream().read() < 0) { "more was sent" }
        } catch (_: IOException) {
            // It was reset.
        }
    }

    fun close(): Unit = socket.close()
}

/** A server that is told each byte to say. It keeps a connection as long as the other side does. */
class RawServer(private val say: OutputStream.(Heard) -> Unit) : AutoCloseable {
    private val server = ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"))
    private val sockets: MutableSet<Socket> = ConcurrentHashMap.newKeySet()
    val heard = CopyOnWriteArrayList<Heard>()
    val url = "http://127.0.0.1:${server.localPort}"
    val port: Int get() = server.localPort

    init {
        thread(isDaemon = true) {
            while (!server.isClosed) {
                val socket = runCatching { server.accept() }.getOrNull() ?: break
                sockets += socket
                thread(isDaemon = true) { runCatching { socket.use(::serve) } }
            }
        }
    }

    override fun close() {
        server.close()
        sockets.forEach(Socket::close)
    }

    private fun serve(socket: Socket) {
        val input = BufferedInputStream(socket.getInputStream())
        while (true) {
            val request = input.request(socket) ?: return
            heard += request
            socket.getOutputStream().say(request)
        }
    }
}

private fun InputStream.line(): String? {
    val line = ByteArrayOutputStream()
    while (true) {
        when (val byte = read()) {
            -1 -> return null
            '\n'.code -> return line.toString(Charsets.ISO_8859_1).trimEnd('\r')
            else -> line.write(byte)
        }
    }
}

private fun InputStream.request(socket: Socket): Heard? {
    val first = line() ?: return null
    val fields = generateSequence { line()?.ifEmpty { null } }
        .map { it.substringBefore(':') to it.substringAfter(':').trim() }.toList()
    fun field(name: String) = fields.firstOrNull { it.first.equals(name, ignoreCase = true) }?.second
    val body = ByteArrayOutputStream()
    if (field("transfer-encoding") == "chunked") {
        do {
            val size = line()!!.toInt(16)
            body.write(readNBytes(size))
            line()
        } while (size > 0)
    } else {
        body.write(readNBytes(field("content-length")?.toInt() ?: 0))
    }
    return Heard(first, fields, body.toString(Charsets.ISO_8859_1), socket)
}

/** Says this. `length` is what it claims to be, where that is another one. */
fun OutputStream.answer(
    status: Int = 200,
    body: ByteArray = "{}".toByteArray(),
    length: Int = body.size,
    vararg headers: Pair<String, String>,
) {
    val head = listOf("HTTP/1.1 $status Said", "content-length: $length") + headers.map { (name, value) -> "$name: $value" }
    write(head.joinToString("\r\n", postfix = "\r\n\r\n").toByteArray() + body)
    flush()
}

fun OutputStream.answer(status: Int = 200, text: String, vararg headers: Pair<String, String>): Unit =
    answer(status, text.toByteArray(), headers = headers)

fun OutputStream.text(text: String) {
    write(text.toByteArray())
    flush()
}
