package dev.keyswap

import java.io.InterruptedIOException
import java.net.ConnectException
import java.net.HttpURLConnection
import java.net.URI
import java.util.concurrent.CopyOnWriteArrayList
import kotlin.concurrent.thread
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource

/** An attempt that a library of the program's own drives, signatures, and keys in a query. */
class AttemptTest {
    private fun test(run: suspend () -> Unit) = runBlocking(Dispatchers.IO) { withTimeout(60.seconds) { run() } }

    /** The first of these keys, and the next one with each fetch. A request waits for it as long as a busy machine needs. */
    private suspend fun own(vararg keys: String): KeySwap {
        var fetches = 0
        val often = Policy { fetchFloor = 50.milliseconds; fetchFloorMin = 50.milliseconds }
        return KeySwap.follow(Source.of { keys[minOf(fetches++, keys.size - 1)].let { NewSet(NewCredential("id-$it", it)) } }, often)
    }

    /** What stands for a library: it blocks, and knows nothing of keys. */
    private fun blocking(authorizer: Authorizer, url: String): Int = authorizer.begin(url).use { attempt ->
        var status = 0
        while (attempt.step != Step.RETURN) when (attempt.step) {
            Step.SEND -> {
                val patch = attempt.apply("GET", url)
                val connection = URI(patch.revealUrl(url)).toURL().openConnection() as HttpURLConnection
                patch.reveal().forEach(connection::setRequestProperty)
                status = connection.responseCode
                attempt.response(status, connection.headerFields)
            }
            Step.WAIT -> attempt.awaitBlocking()
            else -> throw attempt.error!!
        }
        status
    }

    @Test
    fun `a library that knows nothing of keys gets through a rotation`() = World.start().use { world ->
        val keys = world.ready()
        val authorizer = Authorizer(keys, HEADER, listOf(world.apiUrl))
        assertEquals(200, blocking(authorizer, "${world.apiUrl}/v1/price"))
        world.step("cut")
        assertEquals(200, blocking(authorizer, "${world.apiUrl}/v1/price"))
        assertEquals("k2", keys.current.id)
        assertEquals(0, world.count("leaks"))
    }

    @Test
    fun `an attempt says what is known of its request`() = test {
        own("a", "b").use { keys ->
            val authorizer = Authorizer(keys, HEADER, listOf("https://api.example.com"))
            assertTrue(authorizer.admits("https://api.example.com/x") && !authorizer.admits("https://example.com/x"))
            assertThrows(KeySwapException.OriginNotAllowed::class.java) { authorizer.begin("https://example.com/x") }
            val url = "https://api.example.com/x"
            authorizer.begin(url).use { attempt ->
                assertEquals("a", attempt.apply("GET", url).reveal()["x-api-key"])
                assertTrue(attempt.apply("GET", "https://example.com/x").reveal().isEmpty())
                assertEquals(listOf("id-a", 1), listOf(attempt.credentialId, attempt.sends))
                attempt.apply("GET", url)
                var step = attempt.response(401, mapOf(null to listOf("HTTP/1.1 401"), "X-Other" to listOf("1", "2")))
                assertTrue(attempt.isRejected)
                if (step == Step.WAIT) step = attempt.await()
                assertEquals(Step.SEND, step)
                assertEquals("b", attempt.apply("GET", url).reveal()["x-api-key"])
                assertEquals(listOf("id-b", 2), listOf(attempt.credentialId, attempt.sends))
                assertEquals(Step.RETURN, attempt.response(503, emptyMap()))
                assertTrue(!attempt.isRejected && attempt.error == null && attempt.cause == null)
                assertTrue(attempt.repeat())
                assertEquals(Step.RETURN, attempt.failed(ConnectException()))
                attempt.close()
                assertThrows(KeySwapException.Closed::class.java) { attempt.step }
            }
        }
    }

    @Test
    fun `what no key is there for fails with the reason, and what waited in vain says why`() = test {
        KeySwap.start(Source.of { awaitCancellation() }, fast()).use { keys ->
            Authorizer(keys, HEADER, listOf("https://api.example.com")).begin("https://api.example.com/x", deadline = 200.milliseconds).use {
                var thrown: Throwable? = null
                val waiting = thread {
                    Thread.currentThread().interrupt()
                    thrown = runCatching { it.awaitBlocking() }.exceptionOrNull()
                }
                waiting.join()
                assertTrue(thrown is InterruptedIOException, "$thrown")
                assertEquals(Step.FAIL, it.awaitBlocking())
                assertTrue(it.error is KeySwapException.NotReady || it.error is KeySwapException.Timeout, "${it.error}")
            }
        }
        var fetches = 0
        val failing = Source.of { if (fetches++ > 0) error("s3cr3t") else NewSet(NewCredential("k1", "a")) }
        KeySwap.follow(failing, fast()).use { keys ->
            Authorizer(keys, HEADER, listOf("https://api.example.com")).begin("https://api.example.com/x").use {
                it.apply("GET", "https://api.example.com/x")
                var step = it.response(401, emptyMap())
                while (step != Step.RETURN) {
                    step = if (step == Step.WAIT) it.await() else it.response(401, emptyMap())
                }
                assertTrue(it.isRejected)
                assertTrue(it.cause is KeySwapException.SourceFailed, "${it.cause}")
            }
        }
    }

    @Test
    fun `what is prepared needs no attempt until a response says otherwise`() = World.start().use { world ->
        val keys = world.ready()
        val authorizer = Authorizer(keys, HEADER, listOf(world.apiUrl))
        val url = "${world.apiUrl}/v1/price"
        while (authorizer.prepared() == null) blocking(authorizer, url)
        val prepared = authorizer.prepared()!!
        assertEquals(keys.current.reveal(), prepared.patch.reveal()["x-api-key"])
        assertFalse(authorizer.attends(200) { false })
        assertTrue(authorizer.attends(401) { false } && authorizer.attends(200) { it == "retry-after" })
        authorizer.beginAfter(prepared, url).use {
            it.response(401, emptyMap())
            assertTrue(it.isRejected)
        }
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `each send is signed anew, with what the program gave it`(name: String) = test {
        val seen = CopyOnWriteArrayList<UnsignedRequest>()
        val api = Stub { if (it.headers["x-signature"] == "b POST /orders?a=1 order") Told(200) else Told(401) }
        val scheme = Scheme.signing { credential, request ->
            seen += request
            val path = URI(request.url).let { "${it.path}?${it.query}" }
            // One that the caller set may be replaced: it belongs to no caller.
            Signature(mapOf("X-Signature" to "${credential.reveal()} ${request.method} $path ${String(request.body!!)}", "x-mine" to "signed"))
        }
        own("a", "b").use { keys ->
            Way.of(name, keys, api.url, scheme).use { way ->
                val sent = Sent("${api.url}/orders?a=1", "POST", "order", headers = mapOf("X-Mine" to "own"))
                assertEquals(200, way.send(sent).status)
                assertEquals(200, way.send(sent).status)
            }
        }
        assertEquals(listOf("signed", "signed", "signed"), api.asked.map { it.headers["x-mine"] })
        assertTrue(seen.all { it.headers["x-mine"] == "own" && "${api.url}/orders?a=1" == it.url }, "${seen.map { it.headers }}")
        if (name == "kotlin-ktor") assertTrue(seen.all { "text/plain" in it.headers.getValue("content-type") })
        api.close()
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a signature that fails counts against its key, and is told without its words`(name: String) = test {
        val api = Stub()
        val scheme = Scheme.signing { credential, _ ->
            check(credential.reveal() == "b") { "s3cr3t" }
            Signature(mapOf("x-signature" to "b"))
        }
        own("a").use { keys ->
            Way.of(name, keys, api.url, scheme).use { way ->
                val thrown = runCatching { way.send(Sent("${api.url}/x")) }.exceptionOrNull()
                assertTrue(thrown is KeySwapException.SchemeFailed && "IllegalStateException" in thrown.message!!, "$thrown")
                assertFalse("s3cr3t" in thrown!!.stackTraceToString())
            }
        }
        assertTrue(api.asked.isEmpty())
        own("a", "b").use { keys ->
            Way.of(name, keys, api.url, scheme).use { way ->
                runCatching { way.send(Sent("${api.url}/x")) }
                while (keys.current.id != "id-b") kotlinx.coroutines.yield()
                assertEquals(200, way.send(Sent("${api.url}/x")).status)
            }
        }
        api.close()
    }

    @Test
    fun `a key in the query is on the wire alone, and goes nowhere else`() = test {
        val elsewhere = Stub()
        lateinit var origin: String
        val api = Stub {
            when {
                "api_key=two" !in it.path -> Told(401)
                "/quoted" in it.path -> to("${elsewhere.url}/?next=${it.path.replace("=", "%3D")}", 302)
                "/away" in it.path -> to(elsewhere.url + it.path, 302)
                "/here" in it.path -> to(it.path.replace("/here", "/there"), 302)
                else -> Told(200, "here")
            }
        }
        origin = api.url
        own("s3cr3t-one", "two-s3cr3t").use { keys ->
            Way.of("kotlin", keys, origin, Scheme.query("api_key")).use { way ->
                val got = way.send(Sent("$origin/x?a=%20b&api_key=mine"))
                assertEquals(listOf(200, "here"), listOf(got.status, got.text))
                assertTrue("/x?a=%20b&api_key=mine" in got.shownUrl && "s3cr3t" !in got.shownUrl, got.shownUrl)
                assertEquals("/x?a=+b&api_key=two-s3cr3t", api.asked.last().path.replace("%20", "+"))
                assertEquals(200, way.send(Sent("$origin/here")).status)
                assertEquals(200, way.send(Sent("$origin/away")).status)
                assertEquals("/away", elsewhere.asked.single().path)
                val quoted = way.send(Sent("$origin/quoted"))
                assertEquals(302, quoted.status, "a place that quotes the key is none to go to")
                assertFalse("s3cr3t" in quoted.location!!, quoted.location)
                assertEquals(1, elsewhere.asked.size)
            }
            Way.of("kotlin-ktor", keys, origin, Scheme.query("api_key")).use { way ->
                val thrown = runCatching { way.send(Sent("$origin/x")) }.exceptionOrNull()
                assertTrue(thrown is KeySwapException.SchemeFailed, "$thrown")
            }
            val patch = Authorizer(keys, Scheme.query("api_key"), listOf(origin)).begin("$origin/x").use { it.apply("GET", "$origin/x") }
            assertEquals("$origin/x?api_key=two-s3cr3t", patch.revealUrl("$origin/x"))
            assertNotNull(patch.masked("$origin/x", "/two-s3cr3t"))
            assertNull(patch.masked("$origin/x", "/y"))
            assertNull(patch.follow("GET", "$origin/x", true, 302, "/two-s3cr3t"))
            val next = patch.follow("POST", "$origin/x", true, 303, "https://example.com/")!!
            assertEquals(listOf("GET", "https://example.com/", true), with(next) { listOf(method, url, dropsBody) })
            assertTrue("authorization" in next.drops)
        }
        listOf(api, elsewhere).forEach(Stub::close)
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a place that quotes a key of a header is hidden`(name: String) = test {
        val elsewhere = Stub()
        val api = Stub { to("${elsewhere.url}/?k=${it.key}", 302) }
        own("s3cr3t-one").use { keys ->
            Way.of(name, keys, api.url).use { way -> runCatching { way.send(Sent("${api.url}/x")) } }
        }
        assertFalse(elsewhere.asked.any { it.has("s3cr3t") }, "${elsewhere.asked}")
        listOf(api, elsewhere).forEach(Stub::close)
    }
}
