package dev.keyswap

import io.ktor.client.plugins.HttpRedirect
import io.ktor.client.plugins.api.Send
import io.ktor.client.plugins.api.createClientPlugin
import java.io.File
import java.io.IOException
import java.net.InetSocketAddress
import java.net.Proxy
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.Semaphore
import java.util.concurrent.TimeUnit
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.measureTimedValue
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import okhttp3.Interceptor
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.io.TempDir

/** What a program has made of its library stays as it is: each is done with keyswap and by the library alone. */
class UnchangedTest {
    /** With keys, and then the library alone. */
    private suspend fun both(adapter: Adapter, setting: (KeySwap?) -> Setting, run: suspend (Library) -> Unit) {
        for (keys in listOf(followed(OLD), null)) adapter.open(setting(keys)).use { run(it) }
    }

    @Behaviour("headers of the program's own are sent as they are")
    fun `own headers`(adapter: Adapter) = inTime {
        val own = mapOf("User-Agent" to "own/1", "Accept" to "text/own", "Authorization" to "Bearer own", "X-Own" to "a, b;c=\"d\"")
        RawServer { answer(if (it.isNew) 200 else 401) }.use { api ->
            for (http in listOf(adapter.keyed(rotating(), api), adapter.alone())) {
                http.use { it.send(Ask(api.url, "POST", "text", headers = own)) }
            }
            val seen = api.heard.map { it.fields.filter { (name) -> name != "X-MEXC-APIKEY" } }
            assertEquals(3, seen.size)
            assertEquals(setOf(seen.last()), seen.toSet(), "the library alone")
            assertTrue(seen.last().containsAll(own.toList()))
        }
    }

    @Behaviour("redirects are followed as the library follows them")
    fun `redirects`(adapter: Adapter) = inTime {
        RawServer {
            val path = it.line.split(" ")[1]
            if (path == "/there") answer(200, "there") else answer(path.drop(1).toInt(), "", "Location" to "/there")
        }.use { api ->
            for (status in listOf(300, 301, 302, 303, 307, 308)) for (method in listOf("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")) {
                val ask = Ask("${api.url}/$status", method, "text".takeIf { method.startsWith("P") })
                val hops = mutableListOf<List<Any?>>()
                both(adapter, { setting(it, api).copied(plugins = { install(HttpRedirect) { checkHttpMethod = false } }) }) { http ->
                    api.heard.clear()
                    val reply = http.send(ask)
                    hops.add(listOf(reply.status, reply.text) + api.heard.map { listOf(it.line, it.body, it["content-type"]) })
                }
                assertEquals(hops[1], hops[0], "$method $status")
            }
        }
    }

    @Behaviour("cookies are kept as the library keeps them")
    fun `cookies`(adapter: Adapter) = inTime {
        RawServer { answer(if (it.isNew || it["x-mexc-apikey"] == null) 200 else 401, "{}", "Set-Cookie" to "a=1") }.use { api ->
            val sent = mutableListOf<List<String?>>()
            for (keys in listOf(rotating(), null)) {
                adapter.open(Setting(keys, listOf(api.url), hasCookies = true)).use { http ->
                    // With the keys, one is rejected first.
                    assertEquals("a=1", http.get(api.url).headers.getValue("set-cookie").single())
                    api.heard.clear()
                    http.get(api.url)
                    http.get("${api.url}/other")
                    sent += api.heard.map { it["cookie"] }
                    api.heard.clear()
                }
            }
            assertEquals(listOf("a=1", "a=1"), sent[1])
            assertEquals(sent[1], sent[0], "the library alone")
        }
    }

    @Behaviour("a cache answers as the library's does")
    fun `cache`(adapter: Adapter, @TempDir folder: File) = inTime {
        RawServer {
            when {
                "/fresh" in it.line -> answer(200, "fresh", "Cache-Control" to "max-age=60")
                it["if-none-match"] == "\"v1\"" -> answer(304, "", "ETag" to "\"v1\"")
                else -> answer(200, "tagged", "ETag" to "\"v1\"", "Cache-Control" to "no-cache")
            }
        }.use { api ->
            val asked = mutableListOf<List<Any?>>()
            both(adapter, { Setting(it, listOf(api.url), cache = File(folder, "${it != null}")) }) { http ->
                api.heard.clear()
                for (path in listOf("fresh", "tagged")) repeat(2) { assertEquals(200 to path, http.get("${api.url}/$path").let { it.status to it.text }) }
                asked += api.heard.map { it.line to it["if-none-match"] }
            }
            assertEquals(3, asked[1].size)
            assertEquals(asked[1], asked[0], "the library alone")
        }
    }

    @Behaviour("a timeout ends the request")
    fun `timeout`(adapter: Adapter) = inTime {
        val ended = Semaphore(0)
        RawServer {
            if ("/first" in it.line) return@RawServer answer()
            it.awaitEnd()
            ended.release()
        }.use { api ->
            val thrown = mutableListOf<String>()
            both(adapter, { setting(it, api) }) { http ->
                // Its classes are loaded then, which takes longer than the time that is given.
                http.get("${api.url}/first")
                val (failed, took) = measureTimedValue { runCatching { http.send(Ask(api.url, timeoutMs = 300)) }.exceptionOrNull() }
                assertTrue(took in 250.milliseconds..5.seconds, "$took")
                thrown += failed!!.javaClass.name
                assertTrue(ended.tryAcquire(5, TimeUnit.SECONDS))
            }
            assertEquals(thrown[1], thrown[0], "the library alone")
            assertEquals(4, api.heard.size)
        }
    }

    @Behaviour("a request that is given up ends its connection")
    fun `cancelled`(adapter: Adapter) = inTime {
        val ended = Semaphore(0)
        val isHanging = Semaphore(0)
        RawServer {
            if ("/done" in it.line) return@RawServer answer(200, "done")
            if ("/begin" in it.line) answer(200, "begin".toByteArray(), length = 1000) else isHanging.release()
            it.awaitEnd()
            ended.release()
        }.use { api ->
            both(adapter, { setting(it, api) }) { http ->
                val asking = CoroutineScope(Dispatchers.IO).launch { http.get("${api.url}/hang") }
                while (!isHanging.tryAcquire()) delay(5)
                asking.cancelAndJoin()
                assertTrue(ended.tryAcquire(5, TimeUnit.SECONDS), "one that was cancelled")
                val enough = IllegalStateException("enough")
                assertEquals("enough", runCatching { http.stream("${api.url}/begin") { throw enough } }.exceptionOrNull()?.message)
                assertTrue(ended.tryAcquire(5, TimeUnit.SECONDS), "one that was not read to its end")
                assertEquals("done", http.get("${api.url}/done").text)
            }
        }
    }

    @Behaviour("the proxies of the environment are used, and NO_PROXY counts")
    fun `environment`(adapter: Adapter) = inTime {
        RawServer { answer(200, "by proxy") }.use { proxy ->
            val environment = mapOf("http.proxyHost" to "127.0.0.1", "http.proxyPort" to "${proxy.port}", "http.nonProxyHosts" to "direct.test")
            environment.forEach(System::setProperty)
            try {
                val outcomes = mutableListOf<List<String>>()
                both(adapter, { Setting(it, listOf("http://api.test", "http://direct.test")) }) { http ->
                    outcomes += listOf("api", "direct").map { host ->
                        runCatching { http.get("http://$host.test/a").text }.getOrElse { it.javaClass.name }
                    }
                }
                assertEquals(outcomes[1], outcomes[0], "the library alone")
                assertEquals("by proxy", outcomes[1][0])
                assertFalse("by proxy" == outcomes[1][1])
                assertEquals(listOf("GET http://api.test/a HTTP/1.1"), proxy.heard.map { it.line }.distinct())
                assertEquals(listOf(OLD, null), proxy.heard.map { it["x-mexc-apikey"] })
            } finally {
                environment.keys.forEach(System::clearProperty)
            }
        }
    }

    @Behaviour("the proxy of the client's settings is used")
    fun `proxy`(adapter: Adapter) = inTime {
        RawServer { if (it.line.startsWith("CONNECT")) answer(502, "") else answer(200, "by proxy") }.use { proxy ->
            val address = Proxy(Proxy.Type.HTTP, InetSocketAddress("127.0.0.1", proxy.port))
            val outcomes = mutableListOf<List<String>>()
            both(adapter, { Setting(it, listOf("http://api.test", "https://api.test"), proxy = address) }) { http ->
                outcomes += listOf("http", "https").map { scheme ->
                    runCatching { http.get("$scheme://api.test/a").text }.getOrElse { "${it.javaClass.name} ${it.message}" }
                }
            }
            assertEquals("by proxy", outcomes[1][0])
            assertEquals(outcomes[1], outcomes[0], "the library alone")
            val (plain, tunnelled) = proxy.heard.partition { it.line.startsWith("GET") }
            assertEquals(listOf(OLD, null), plain.map { it["x-mexc-apikey"] })
            assertTrue(tunnelled.isNotEmpty() && tunnelled.all { it["x-mexc-apikey"] == null })
        }
    }

    @Behaviour("a proxy that cannot be used is said")
    fun `no proxy`(adapter: Adapter) = inTime {
        val address = Proxy(Proxy.Type.HTTP, InetSocketAddress("127.0.0.1", closedUrl().substringAfterLast(':').toInt()))
        val said = mutableListOf<String>()
        both(adapter, { Setting(it, listOf("http://api.test"), proxy = address) }) { http ->
            said += runCatching { http.get("http://api.test/a") }.exceptionOrNull().toString()
        }
        assertTrue("connect" in said[1].lowercase(), said[1])
        assertEquals(said[1], said[0], "the library alone")
    }

    @Behaviour("what the library throws is thrown")
    fun `errors`(adapter: Adapter) = inTime {
        RawServer { if ("/cut" in it.line) it.close() else text("not HTTP at all\r\n\r\n") }.use { api ->
            val nowhere = closedUrl()
            val thrown = mutableListOf<List<String>>()
            both(adapter, { Setting(it, listOf(api.url, nowhere)) }) { http ->
                thrown += listOf("$nowhere/x", "${api.url}/cut", "${api.url}/other").map { url ->
                    val failed = runCatching { http.get(url) }.exceptionOrNull()
                    assertTrue(failed is IOException || failed is IllegalStateException, "$url: $failed")
                    "${failed!!.javaClass.name} ${failed.message}"
                }
            }
            assertEquals(thrown[1], thrown[0], "the library alone")
        }
    }

    @Behaviour("interceptors and plugins are called in their order")
    fun `order`(adapter: Adapter) = inTime {
        RawServer { answer(200, "{}", "X-Answer" to "1") }.use { api ->
            val calls = mutableListOf<List<String>>()
            both(adapter, { keys ->
                val seen = CopyOnWriteArrayList<String>().also { calls += it }
                fun noting(name: String) = Interceptor { chain ->
                    seen += "$name: ${chain.request().headers.names()}"
                    chain.proceed(chain.request()).also { seen += "$name: ${it.code} ${it.request.headers.names()}" }
                }
                fun plugin(name: String) = createClientPlugin(name) {
                    onRequest { request, _ -> seen += "$name: ${request.headers.names()}" }
                    on(Send) { request -> seen += "$name sends"; proceed(request).also { seen += "$name: ${it.response.status}" } }
                    onResponse { seen += "$name: ${it.status} ${it.call.request.headers.names()}" }
                }
                setting(keys, api).copied(
                    before = { addInterceptor(noting("first")).addInterceptor(noting("second")).addNetworkInterceptor(noting("network")) },
                    after = { addInterceptor(noting("third")) },
                    plugins = {
                        install(plugin("first"))
                        install(plugin("second"))
                    },
                )
            }) { it.get(api.url, "X-Own" to "1") }
            assertTrue(calls[1].size >= 6)
            assertEquals(calls[1], calls[0], "the library alone")
        }
    }
}
