package dev.keyswap

import java.io.IOException
import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.measureTimedValue
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource

private const val KEY_1 = "s3cr3t-one"
private const val KEY_2 = "s3cr3t-two"
private val BODIES = listOf("POST", "PUT", "PATCH")
private val REDIRECTS = listOf(301, 302, 303, 307, 308)

/** Redirects through OkHttp and Ktor: each hop is a request of its own. */
class HopsTest {
    private fun test(run: suspend () -> Unit) = runBlocking(Dispatchers.IO) { withTimeout(60.seconds) { run() } }

    /** Holds the first key, and brings the second when it is asked again. */
    private suspend fun rotating(policy: Policy = fast()): KeySwap {
        val fetches = AtomicInteger()
        val source = Source.of {
            NewSet(if (fetches.getAndIncrement() == 0) NewCredential("k1", KEY_1) else NewCredential("k2", KEY_2))
        }
        return KeySwap.follow(source, policy)
    }

    private fun sent(url: String, method: String) = Sent(url, method, "order".takeIf { method != "GET" })

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a chain within the allowed origins and then elsewhere takes no key along`(name: String) = test {
        val elsewhere = Stub()
        val second = Stub { to("${elsewhere.url}/caught", it.path.drop(1).toInt()) }
        val first = Stub { to("${second.url}${it.path}", it.path.drop(1).toInt()) }
        rotating().use { keys ->
            Way.of(name, keys, listOf(first.url, second.url)).use { way ->
                for (method in BODIES + "GET") for (status in REDIRECTS) way.send(sent("${first.url}/$status", method))
            }
        }
        assertTrue(first.asked.all { it.key == KEY_1 } && second.asked.all { it.key == KEY_1 })
        assertEquals(20, elsewhere.asked.size)
        assertFalse(elsewhere.asked.any { it.has("s3cr3t") })
        listOf(first, second, elsewhere).forEach(Stub::close)
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `what was answered is not sent again when a later hop is rejected`(name: String) = test {
        for (method in BODIES) for (status in REDIRECTS) {
            val api = Stub { if (it.path == "/orders") to("/done", status) else Told(if (it.key == KEY_2) 200 else 401) }
            rotating().use { keys ->
                Way.of(name, keys, api.url).use { way ->
                    assertEquals(200, way.send(sent("${api.url}/orders", method)).status, "$method $status")
                }
            }
            assertEquals(1, api.count("/orders"), "$method $status: ${api.asked}")
            assertEquals(2, api.count("/done"), "$method $status: ${api.asked}")
            api.close()
        }
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `what was answered is not sent again when a later hop cannot be reached`(name: String) = test {
        val nowhere = closedUrl()
        for (method in BODIES) for (status in REDIRECTS) {
            val api = Stub { to("$nowhere/x", status) }
            rotating().use { keys ->
                Way.of(name, keys, listOf(api.url, nowhere)).use { way ->
                    val thrown = runCatching { way.send(sent("${api.url}/orders", method)) }.exceptionOrNull()
                    assertTrue(thrown is IOException, "$method $status: $thrown")
                }
            }
            assertEquals(1, api.asked.size, "$method $status")
            api.close()
        }
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a body that goes along is the body of each hop`(name: String) = test {
        val api = Stub { if (it.path == "/orders") to("/done", 307) else Told(if (it.key == KEY_2) 200 else 401) }
        rotating().use { keys ->
            Way.of(name, keys, api.url).use { way ->
                assertEquals(200, way.send(sent("${api.url}/orders", "PUT")).status)
            }
        }
        assertEquals(listOf("order", "order", "order"), api.asked.map { it.body })
        api.close()
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a redirect is judged before it is followed`(name: String) = test {
        val api = Stub {
            when {
                it.path == "/login" -> Told(200, "who are you?")
                it.key == KEY_2 -> Told(200, "here")
                else -> to("/login", 302)
            }
        }
        val judge = Classifier(setOf(302)) { Verdict.REJECTED }
        rotating().use { keys ->
            Way.of(name, keys, listOf(api.url), classifier = judge).use { way ->
                assertEquals("here", way.send(Sent("${api.url}/price")).text)
            }
        }
        assertEquals(0, api.count("/login"))
        api.close()
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a header of the caller's own is an error, or wins, and goes nowhere else`(name: String) = test {
        val elsewhere = Stub()
        val api = Stub { if (it.path == "/away") to("${elsewhere.url}/caught", 302) else Told(401) }
        rotating().use { keys ->
            val own = mapOf("X-Api-Key" to "mine")
            Way.of(name, keys, api.url).use { way ->
                val thrown = runCatching { way.send(Sent("${api.url}/x", headers = own)) }.exceptionOrNull()
                assertTrue(thrown is KeySwapException.InvalidConfig && "x-api-key" in thrown.message!!, "$thrown")
                assertTrue(api.asked.isEmpty())
            }
            Way.of(name, keys, listOf(api.url), ownHeaderWins = true).use { way ->
                assertEquals(401, way.send(Sent("${api.url}/x", headers = own)).status)
                assertEquals(listOf("mine"), api.asked.map { it.key })
                way.send(Sent("${api.url}/away", headers = own))
                assertNull(elsewhere.asked.single().key)
            }
            assertEquals(0, keys.stats.rejections, "it is no evidence about the key")
        }
        listOf(api, elsewhere).forEach(Stub::close)
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `a caller can say once`(name: String) = test {
        val api = Stub { Told(if (it.key == KEY_2) 200 else 401) }
        rotating().use { keys ->
            Way.of(name, keys, api.url).use { way ->
                assertEquals(401, way.send(Sent("${api.url}/x", resend = false)).status)
                assertEquals(1, api.asked.size)
                assertEquals(200, way.send(Sent("${api.url}/x")).status)
            }
        }
        api.close()
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `the time of a request bounds its wait for a fresh key`(name: String) = test {
        val api = Stub { Told(401, "no") }
        val fetches = AtomicInteger()
        val source = Source.of {
            if (fetches.getAndIncrement() > 0) awaitCancellation()
            NewSet(NewCredential("k1", KEY_1))
        }
        val slow = Policy { fetchFloor = 50.milliseconds; fetchFloorMin = 50.milliseconds }
        KeySwap.follow(source, slow).use { keys ->
            Way.of(name, keys, api.url).use { way ->
                val (got, took) = measureTimedValue { way.send(Sent("${api.url}/x", timeoutMs = 1000)) }
                assertEquals(listOf(401, "no"), listOf(got.status, got.text), "what is in hand when the time ends")
                assertTrue(took < 3.seconds, "$took")
            }
        }
        api.close()
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `the first rejection is the answer when all is in vain`(name: String) = test {
        val api = Stub { Told(401, "no to ${it.key}") }
        rotating().use { keys ->
            Way.of(name, keys, api.url).use { way -> assertEquals("no to $KEY_1", way.send(Sent("${api.url}/x")).text) }
        }
        assertTrue(api.asked.any { it.key == KEY_2 })
        api.close()
    }

    @ParameterizedTest
    @ValueSource(strings = ["kotlin", "kotlin-ktor"])
    fun `an origin that is not allowed leads no key anywhere`(name: String) = test {
        val home = Stub()
        val away = Stub { to("${home.url}/back", 302) }
        val first = Stub { to("${away.url}/x", 302) }
        rotating().use { keys ->
            Way.of(name, keys, listOf(first.url, home.url)).use { way -> way.send(Sent("${first.url}/x")) }
        }
        assertNull(home.asked.single().key)
        listOf(first, away, home).forEach(Stub::close)
    }
}
