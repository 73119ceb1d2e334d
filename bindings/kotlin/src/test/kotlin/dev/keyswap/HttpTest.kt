package dev.keyswap

import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource

/** OkHttp and Ktor: nothing leaks, no storm, and what callers pass arrives. */
class HttpTest {
    private fun test(run: suspend World.() -> Unit) = World.start().use { world ->
        runBlocking(Dispatchers.IO) { withTimeout(60.seconds) { world.run() } }
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a storm of 1000 at a cut with no overlap`(name: String) = test {
        // Each must have its time on a machine that is busy.
        val keys = ready(Policy { fetchFloor = 50.milliseconds; fetchFloorMin = 50.milliseconds })
        Way.of(name, keys, apiUrl).use { way ->
            assertEquals(200, way.send(Sent("$apiUrl/v1/price")).status)
            val changed = count("fetch.changed")
            step("cut")
            val answers = coroutineScope {
                List(1000) { async { way.send(Sent("$apiUrl/v1/price")).status } }.awaitAll()
            }
            assertEquals(setOf(200), answers.toSet())
            assertEquals(1, count("fetch.changed") - changed)
            assertTrue(count("api.rejected") > 0, "the key was not cut")
        }
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a redirect to another origin takes no key along`(name: String) = test {
        Way.of(name, ready(), apiUrl).use { way ->
            way.send(Sent("$apiUrl/redirect"))
            assertEquals(200, way.send(Sent("$apiUrl/redirect-here")).status)
            way.send(Sent("$otherUrl/anything"))
            assertEquals(0, count("leaks"))
            assertTrue(count("api.accepted") >= 1)
        }
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a hop that is rejected behind a redirect is sent again`(name: String) = test {
        val keys = ready()
        Way.of(name, keys, apiUrl).use { way ->
            step("cut")
            assertEquals(200, way.send(Sent("$apiUrl/redirect-here")).status)
            assertEquals("k2", keys.current.id)
        }
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `what is rejected everywhere is returned as the API said it`(name: String) = test {
        Way.of(name, ready(), apiUrl).use { way ->
            val got = way.send(Sent("$apiUrl/always-401"))
            assertEquals(401, got.status)
            assertTrue(got.text.isNotEmpty())
        }
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a body is sent again, and one that is a stream once`(name: String) = test {
        val keys = ready()
        Way.of(name, keys, apiUrl).use { way ->
            step("cut")
            coroutineScope {
                val rejected = async(start = CoroutineStart.UNDISPATCHED) { keys.events.first { it.name == "rejected" } }
                val streamed = Sent("$apiUrl/v1/orders", "POST", "{\"order\":1}", isOneShot = true)
                assertEquals(401, way.send(streamed).status, "the answer of the API")
                rejected.await()
                assertEquals(200, way.send(streamed).status)
            }
            step("cut")
            assertEquals(200, way.send(Sent("$apiUrl/v1/orders", "POST", "{\"order\":1}")).status)
        }
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a response names its request without the key`(name: String) = test {
        val keys = ready()
        Way.of(name, keys, apiUrl).use { way ->
            val got = way.send(Sent("$apiUrl/v1/price"))
            if (name == "kotlin") assertFalse(keys.current.reveal() in got.shownUrl, got.shownUrl)
            val refused = runCatching { way.send(Sent("http://127.0.0.1:1/x")) }.exceptionOrNull()!!
            assertFalse(keys.current.reveal() in refused.stackTraceToString())
        }
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a request that waits for keys may be cancelled`(name: String) = test {
        step("endpoint", "fault" to "hang")
        KeySwap.start(source()).use { keys ->
            Way.of(name, keys, apiUrl).use { way ->
                coroutineScope {
                    val waiting = launch { way.send(Sent("$apiUrl/v1/price")) }
                    while (keys.stats.waiting == 0L) kotlinx.coroutines.yield()
                    waiting.cancelAndJoin()
                    while (keys.stats.waiting > 0L) kotlinx.coroutines.yield()
                }
                assertEquals(0, count("api.sends"))
            }
        }
        step("endpoint", "fault" to "none")
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a classifier finds a refused key in a body, and one that throws finds nothing`(name: String) = test {
        val keys = ready()
        val reading = Classifier(setOf(200, 401)) {
            val body = it.body
            when {
                it.status != 200 -> Verdict.OTHER
                body == null -> Verdict.NEED_BODY
                "bad_key" in String(body) -> Verdict.REJECTED
                else -> Verdict.ACCEPTED
            }
        }
        Way.of(name, keys, apiUrl, classifier = reading).use { way ->
            step("cut")
            val got = way.send(Sent("$apiUrl/body-code"))
            assertEquals(200, got.status)
            assertTrue("k2" in got.text, got.text)
        }
        Way.of(name, keys, apiUrl, classifier = Classifier { error("s3cr3t") }).use { way ->
            assertEquals(401, way.send(Sent("$apiUrl/always-401")).status)
        }
    }
}
