package dev.keyswap

import java.util.concurrent.atomic.AtomicInteger
import dev.keyswap.ktor.KeySwapAuth
import dev.keyswap.ktor.KeySwapAuthConfig
import dev.keyswap.okhttp.keyswap
import io.ktor.client.HttpClient
import io.ktor.client.engine.ProxyBuilder
import io.ktor.client.engine.cio.CIO
import io.ktor.client.engine.http
import io.ktor.client.plugins.HttpRedirect
import io.ktor.client.plugins.HttpTimeout
import io.ktor.client.request.HttpSendPipeline
import io.ktor.client.request.get
import io.ktor.client.statement.bodyAsText
import io.ktor.client.statement.request
import io.ktor.http.Headers
import java.io.IOException
import java.net.InetAddress
import java.net.InetSocketAddress
import java.net.ProtocolException
import java.net.Proxy
import java.net.ProxySelector
import java.net.ServerSocket
import java.net.SocketAddress
import java.net.URI
import java.net.UnknownHostException
import java.security.MessageDigest
import java.util.Base64
import java.util.concurrent.CompletableFuture
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.TimeUnit
import kotlin.concurrent.thread
import kotlin.time.Duration.Companion.seconds
import kotlin.time.measureTimedValue
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import okhttp3.Cache
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.Response
import okhttp3.WebSocket
import okhttp3.WebSocketListener
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

private const val KEY = "s3cr3t-key"

/** The key is on the wire, by a way that nobody else reads, and nowhere else. */
class WireTest {
    private fun test(run: suspend () -> Unit) = runBlocking(Dispatchers.IO) { withTimeout(60.seconds) { run() } }

    private suspend fun keys() = KeySwap.follow(Source.of { NewSet(NewCredential("k1", KEY)) }, fast())

    private fun OkHttpClient.get(url: String): Response = newCall(Request.Builder().url(url).build()).execute()

    private fun ktor(keys: KeySwap, origin: String, configure: KeySwapAuthConfig.() -> Unit = {}) = HttpClient(CIO) {
        install(KeySwapAuth) {
            this.keys = keys
            scheme = HEADER
            allowedOrigins = listOf(origin)
            configure()
        }
    }

    @Test
    fun `nothing that OkHttp keeps or shows holds the key`(@TempDir folder: java.io.File) = test {
        val api = Stub {
            if (it.path == "/old") to("/new", 301) else Told(200, "here", mapOf("Vary" to "x-api-key", "Cache-Control" to "max-age=60"))
        }
        val seen = CopyOnWriteArrayList<Request>()
        keys().use { keys ->
            val cache = Cache(folder, 1 shl 20)
            val http = OkHttpClient.Builder().cache(cache).keyswap(keys, HEADER, listOf(api.url))
                .addInterceptor { chain -> seen += chain.request(); chain.proceed(chain.request()) }
                .build()
            val response = http.get("${api.url}/old").use { it.also { response -> response.body.string() } }
            val shown = generateSequence(response) { it.priorResponse }
                .flatMap { listOfNotNull(it, it.networkResponse, it.cacheResponse) }.map { it.request } + seen
            assertEquals(listOf("/new", "/old"), generateSequence(response) { it.priorResponse }.map { it.request.url.encodedPath }.toList())
            for (request in shown) {
                assertNull(request.header("x-api-key"))
                assertFalse(KEY in request.toString())
                assertNull(request.tag(Trip::class.java)?.patchFor("http://127.0.0.1:${api.port}") { false })
            }
            assertTrue(api.asked.all { it.key == KEY })
            cache.close()
            assertFalse(folder.walk().filter { it.isFile }.any { KEY in it.readText(Charsets.ISO_8859_1) })
        }
        api.close()
    }

    @Test
    fun `nothing that Ktor keeps or shows holds the key`() = test {
        val api = Stub { if (it.path == "/old") to("/new", 302) else Told(200, "here") }
        val seen = CopyOnWriteArrayList<Headers>()
        keys().use { keys ->
            ktor(keys, api.url).use { http ->
                // Where its plugin for logs reads them.
                http.sendPipeline.intercept(HttpSendPipeline.Monitoring) { seen += context.headers.build() }
                val response = http.get("${api.url}/old")
                assertEquals("here", response.bodyAsText())
                val shown = seen + response.request.headers + response.call.request.headers + response.call.response.request.headers
                for (headers in shown) assertFalse("x-api-key" in headers, "$headers")
                val kept = response.call.attributes.allKeys.map { response.call.attributes[it as io.ktor.util.AttributeKey<Any>] }
                assertFalse(kept.any { it is Trip })
                assertEquals(listOf(KEY, KEY), api.asked.map { it.key })
            }
        }
        api.close()
    }

    @Test
    fun `plain HTTP to this machine goes through no proxy of OkHttp's`() = test {
        val proxy = Stub { Told(502) }
        val api = Stub()
        val address = Proxy(Proxy.Type.HTTP, InetSocketAddress("127.0.0.1", proxy.port))
        val selector = object : ProxySelector() {
            override fun select(uri: URI): List<Proxy> = listOf(address)

            override fun connectFailed(uri: URI, at: SocketAddress, thrown: IOException) = Unit
        }
        keys().use { keys ->
            for (builder in listOf(OkHttpClient.Builder().proxy(address), OkHttpClient.Builder().proxySelector(selector))) {
                builder.keyswap(keys, HEADER, listOf(api.url)).build().get("${api.url}/x").use { assertEquals(200, it.code) }
            }
        }
        assertEquals(listOf(KEY, KEY), api.asked.map { it.key })
        assertTrue(proxy.asked.isEmpty())
        listOf(api, proxy).forEach(Stub::close)
    }

    @Test
    fun `plain HTTP to this machine is refused where Ktor would take a proxy`() = test {
        val proxy = Stub { Told(502) }
        val api = Stub()
        keys().use { keys ->
            val client = HttpClient(CIO) {
                engine { this.proxy = ProxyBuilder.http(proxy.url) }
                install(KeySwapAuth) {
                    this.keys = keys
                    scheme = HEADER
                    allowedOrigins = listOf(api.url)
                }
            }
            client.use {
                val thrown = runCatching { it.get("${api.url}/x") }.exceptionOrNull()
                assertTrue(thrown is KeySwapException.InsecureUrl && "proxy" in thrown.message!!, "$thrown")
            }
        }
        assertTrue(proxy.asked.isEmpty() && api.asked.isEmpty())
        listOf(api, proxy).forEach(Stub::close)
    }

    @Test
    fun `localhost is this machine, whatever a resolver says`() = test {
        val api = Stub()
        val origin = "http://localhost:${api.port}"
        keys().use { keys ->
            val http = OkHttpClient.Builder().dns { throw UnknownHostException(it) }.keyswap(keys, HEADER, listOf(origin)).build()
            http.get("$origin/x").use { assertEquals(200, it.code) }
            ktor(keys, origin).use { assertEquals(200, it.get("$origin/x").status.value) }
        }
        assertEquals(listOf(KEY, KEY), api.asked.map { it.key })
        api.close()
    }

    @Test
    fun `OkHttp follows redirects as it was told to, and ten at most`() = test {
        val api = Stub { to("/again", 302) }
        keys().use { keys ->
            val builder = OkHttpClient.Builder().keyswap(keys, HEADER, listOf(api.url))
            assertThrows(ProtocolException::class.java) { builder.build().get("${api.url}/x") }
            assertEquals(11, api.asked.size)
            val late = builder.followRedirects(true).build()
            assertThrows(KeySwapException.InvalidConfig::class.java) { late.get("${api.url}/x") }
            val staying = OkHttpClient.Builder().followRedirects(false).keyswap(keys, HEADER, listOf(api.url)).build()
            staying.get("${api.url}/x").use { assertEquals(302, it.code) }
            assertEquals(12, api.asked.size)
        }
        api.close()
    }

    @Test
    fun `two sets of keys in one OkHttp client`() = test {
        val second = Stub()
        val first = Stub { to("${second.url}/x", 302) }
        val others = KeySwap.follow(Source.of { NewSet(NewCredential("o1", "other-key")) }, fast())
        keys().use { keys ->
            val http = OkHttpClient.Builder().keyswap(keys, HEADER, listOf(first.url))
                .keyswap(others, HEADER, listOf(second.url)).build()
            http.get("${first.url}/x").use { assertEquals(200, it.code) }
        }
        others.close()
        assertEquals(KEY, first.asked.single().key)
        assertEquals("other-key", second.asked.single().key)
        listOf(first, second).forEach(Stub::close)
    }

    @Test
    fun `a WebSocket of OkHttp's begins with the key`() = test {
        val handshake = CompletableFuture<String>()
        val opened = CompletableFuture<Response>()
        ServerSocket(0, 1, InetAddress.getByName("127.0.0.1")).use { server ->
            val serving = thread { server.accept().use { socket ->
                val lines = socket.getInputStream().bufferedReader().lineSequence().takeWhile(String::isNotEmpty).toList()
                val nonce = lines.first { it.startsWith("Sec-WebSocket-Key: ") }.substringAfter(": ")
                val digest = MessageDigest.getInstance("SHA-1").digest("${nonce}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".toByteArray())
                val accept = Base64.getEncoder().encodeToString(digest)
                val answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: $accept\r\n\r\n"
                socket.getOutputStream().write(answer.toByteArray())
                handshake.complete(lines.joinToString("\n"))
                opened.get(10, TimeUnit.SECONDS)
            } }
            val origin = "http://127.0.0.1:${server.localPort}"
            keys().use { keys ->
                val http = OkHttpClient.Builder().keyswap(keys, HEADER, listOf(origin)).build()
                val listener = object : WebSocketListener() {
                    override fun onOpen(webSocket: WebSocket, response: Response) {
                        opened.complete(response)
                    }

                    override fun onFailure(webSocket: WebSocket, t: Throwable, response: Response?) {
                        opened.completeExceptionally(t)
                    }
                }
                val socket = http.newWebSocket(Request.Builder().url("$origin/prices").build(), listener)
                val response = opened.get(10, TimeUnit.SECONDS)
                socket.cancel()
                assertTrue("x-api-key: $KEY" in handshake.get())
                assertNull(response.request.header("x-api-key"))
                assertNull(response.networkResponse?.request?.header("x-api-key"))
            }
            serving.join()
        }
    }

    @Test
    fun `a timeout of Ktor's that is installed inside bounds a wait, too`() = test {
        val asked = AtomicInteger()
        val api = Stub { Told(if (asked.incrementAndGet() <= WORKS) 200 else 401) }
        var fetches = 0
        val source = Source.of {
            if (fetches++ > 0) awaitCancellation()
            NewSet(NewCredential("k1", KEY))
        }
        KeySwap.follow(source).use { keys ->
            val http = HttpClient(CIO) {
                install(KeySwapAuth) {
                    this.keys = keys
                    scheme = HEADER
                    allowedOrigins = listOf(api.url)
                }
                install(HttpTimeout) { requestTimeoutMillis = 1000 }
            }
            http.use {
                // Until the key has worked, and that is known, a request asks the core before anything else does.
                repeat(WORKS) { _ -> assertEquals(200, http.get("${api.url}/x").status.value) }
                val (got, took) = measureTimedValue { it.get("${api.url}/x") }
                assertEquals(401, got.status.value)
                assertTrue(took < 3.seconds, "$took")
            }
        }
        api.close()
    }

    @Test
    fun `a timeout of Ktor's bounds a wait for the first key, and the error says what was missing`() = test {
        val api = Stub()
        KeySwap.start(Source.of { awaitCancellation() }).use { keys ->
            val http = HttpClient(CIO) {
                install(HttpTimeout) { requestTimeoutMillis = 200 }
                install(KeySwapAuth) {
                    this.keys = keys
                    scheme = HEADER
                    allowedOrigins = listOf(api.url)
                }
            }
            http.use {
                val (thrown, took) = measureTimedValue { runCatching { it.get("${api.url}/x") }.exceptionOrNull() }
                assertTrue(thrown is KeySwapException.NotReady, "$thrown")
                assertTrue(took < 3.seconds, "$took")
            }
        }
        api.close()
    }

    @Test
    fun `redirects of Ktor's that would be followed out of sight are refused`() = test {
        val api = Stub()
        keys().use { keys ->
            val http = HttpClient(CIO) {
                followRedirects = false
                install(KeySwapAuth) {
                    this.keys = keys
                    scheme = HEADER
                    allowedOrigins = listOf(api.url)
                }
                install(HttpRedirect)
            }
            http.use {
                val thrown = runCatching { it.get("${api.url}/x") }.exceptionOrNull()
                assertTrue(thrown is KeySwapException.InvalidConfig && "HttpRedirect" in thrown.message!!, "$thrown")
            }
        }
        api.close()
    }

    @Test
    fun `a key that fits into no header is told without it`() = test {
        val api = Stub()
        KeySwap.follow(Source.of { NewSet(NewCredential("k1", "s3cr3té")) }, fast()).use { keys ->
            Way.of("kotlin", keys, api.url).use { way ->
                val thrown = runCatching { way.send(Sent("${api.url}/x")) }.exceptionOrNull()
                assertTrue(thrown is KeySwapException.SchemeFailed, "$thrown")
                assertFalse("s3cr3t" in thrown!!.stackTraceToString())
            }
        }
        assertTrue(api.asked.isEmpty())
        api.close()
    }

    @Test
    fun `no field of a credential shows its key`() = test {
        keys().use { keys ->
            val credential = keys.current
            assertEquals(KEY, credential.reveal())
            for (field in Credential::class.java.declaredFields) {
                field.isAccessible = true
                assertFalse(KEY in "${field.get(credential)}", field.name)
            }
        }
    }
}

/** So many requests work before the key is rejected. */
private const val WORKS = 20
