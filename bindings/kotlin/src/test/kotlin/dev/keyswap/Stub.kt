package dev.keyswap

import com.sun.net.httpserver.HttpExchange
import com.sun.net.httpserver.HttpServer
import java.net.InetAddress
import java.net.InetSocketAddress
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors

/** What a [Stub] was asked. */
class Asked(val method: String, val path: String, val headers: Map<String, String>, val body: String) {
    val key: String? get() = headers["x-api-key"]

    fun has(text: String): Boolean = path.contains(text) || headers.values.any { text in it } || text in body

    override fun toString(): String = "$method $path"
}

/** What a [Stub] answers. */
class Told(val status: Int = 200, val body: String = "", val headers: Map<String, String> = emptyMap())

/** A server on this machine that notes what it is asked, and answers as it is told. */
class Stub(private val answer: (Asked) -> Told = { Told() }) : AutoCloseable {
    private val threads: ExecutorService = Executors.newCachedThreadPool()
    private val server = HttpServer.create(InetSocketAddress(InetAddress.getByName("127.0.0.1"), 0), 0)
    val asked = CopyOnWriteArrayList<Asked>()
    val port: Int get() = server.address.port
    val url: String get() = "http://127.0.0.1:$port"

    init {
        server.executor = threads
        server.createContext("/") { it.use(::serve) }
        server.start()
    }

    fun count(path: String): Int = asked.count { it.path == path }

    override fun close() {
        server.stop(0)
        threads.shutdown()
    }

    private fun serve(exchange: HttpExchange) {
        val headers = exchange.requestHeaders.entries.associate { (name, values) -> name.lowercase() to values.joinToString() }
        val body = exchange.requestBody.readBytes().decodeToString()
        val request = Asked(exchange.requestMethod, exchange.requestURI.toString(), headers, body)
        asked += request
        val told = answer(request)
        told.headers.forEach(exchange.responseHeaders::add)
        val bytes = told.body.toByteArray()
        exchange.sendResponseHeaders(told.status, if (bytes.isEmpty()) -1 else bytes.size.toLong())
        if (bytes.isNotEmpty()) exchange.responseBody.write(bytes)
    }
}

fun to(location: String, status: Int): Told = Told(status, headers = mapOf("Location" to location))

/** A port of this machine where nobody listens. */
fun closedUrl(): String = Stub().use { it.url }
