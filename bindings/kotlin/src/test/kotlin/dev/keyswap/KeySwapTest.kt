package dev.keyswap

import dev.keyswap.internal.NativeEvent
import dev.keyswap.internal.NativeStats
import dev.keyswap.okhttp.keyswap
import java.io.File
import java.lang.ref.WeakReference
import java.time.Instant
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.filterIsInstance
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import okhttp3.OkHttpClient
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class KeySwapTest {
    private fun test(run: suspend () -> Unit) = runBlocking(Dispatchers.IO) { withTimeout(60.seconds) { run() } }

    private suspend fun own(id: String = "k1", key: String = "the-key") =
        KeySwap.follow(Source.of { NewSet(NewCredential(id, key)) }, fast())

    @Test
    fun `what is held, what happens, and what was counted`() = World.start().use { world ->
        test {
            val keys = world.ready()
            assertEquals("k1", keys.current.id)
            assertSame(keys.current, keys.current, "reading again makes nothing new")
            kotlinx.coroutines.coroutineScope {
                val swapped = async(start = CoroutineStart.UNDISPATCHED) { keys.events.filterIsInstance<Event.Fetched>().first() }
                world.step("rotate")
                keys.refresh(10.seconds)
                val event = swapped.await()
                assertEquals(2, event.generation)
                assertEquals("k2", event.primary)
            }
            val set = keys.credentials!!
            assertEquals(listOf("k2", "k1"), listOf(set.primary!!.id, set.previous.single().id))
            assertTrue(set.primary!!.expiresAt == null || set.primary!!.expiresAt!! > Instant.now())
            assertEquals(2, keys.stats.fetchesChanged)
            keys.shutdown()
            assertThrows(KeySwapException.Closed::class.java) { keys.current }
            assertThrows(KeySwapException.Closed::class.java) { runBlocking { keys.refresh() } }
            assertTrue(keys.events.toList().isEmpty(), "a closed handle has no events")
        }
    }

    @Test
    fun `a source of the program's own, with all that a set can say`() = test {
        val end = Instant.now().plusSeconds(3600)
        val keys = KeySwap.follow(
            Source.of {
                NewSet(
                    NewCredential("k2", "a\"\\\n\u0001é", secret = "s", material = mapOf("extra" to "e"), scopes = listOf("x"), expiresAt = end),
                    previous = listOf(NewCredential("k1", "old")),
                    next = NewCredential("k3", "later"),
                    generation = 7,
                )
            },
        )
        keys.use {
            assertEquals("a\"\\\n\u0001é", keys.current.reveal())
            assertEquals(listOf("s", "e"), listOf(keys.current.reveal("secret"), keys.current.reveal("extra")))
            assertEquals(end.toEpochMilli(), keys.current.expiresAt!!.toEpochMilli())
            assertEquals(listOf("x"), keys.current.scopes)
            assertEquals(listOf(7L, "k1", "k3"), keys.credentials!!.let { listOf(it.generation, it.previous.single().id, it.next!!.id) })
        }
    }

    @Test
    fun `what a source throws arrives typed, and without its words`() = test {
        val failing = listOf<suspend () -> NewSet>(
            { throw IllegalStateException("s3cr3t") },
            { throw AssertionError("s3cr3t") },
        )
        for (fetch in failing) {
            val thrown = runCatching { KeySwap.follow(Source.of(fetch), fast()) }.exceptionOrNull()
            assertTrue(thrown is KeySwapException.SourceFailed, "$thrown")
            assertTrue("threw" in thrown!!.message!! && "s3cr3t" !in thrown.stackTraceToString(), "$thrown")
        }
        val odd = runCatching { KeySwap.follow(Source.ofJson { "{\"s3cr3t" }, fast()) }.exceptionOrNull()
        assertTrue(odd is KeySwapException.Malformed && "s3cr3t" !in odd.message!!, "$odd")
        val empty = runCatching { KeySwap.follow(Source.storage { null }, fast()) }.exceptionOrNull()
        assertTrue(empty is KeySwapException.SourceFailed, "$empty")
        val broken = runCatching { KeySwap.follow(Source.storage { error("s3cr3t") }, fast()) }.exceptionOrNull()
        assertTrue(broken is KeySwapException.SourceFailed && "s3cr3t" !in broken.message!!, "$broken")
    }

    @Test
    fun `a source that mints is not polled, with or without a network to ask for`() = test {
        val minted = AtomicInteger()
        val read = AtomicInteger()
        val often = Policy {
            poll = 20.milliseconds
            fetchFloor = 10.milliseconds
            fetchFloorMin = 10.milliseconds
        }
        val minting = Source.of(mints = true) { NewSet(NewCredential("t${minted.incrementAndGet()}", "a")) }
        KeySwap.follow(minting.whenReachable { true }, often).use {
            val reading = Source.of {
                read.incrementAndGet()
                NewSet(NewCredential("k1", "a"))
            }
            KeySwap.follow(reading, often).use { while (read.get() < 20) kotlinx.coroutines.yield() }
        }
        assertEquals(1, minted.get())
    }

    @Test
    fun `what an endpoint is told of its set and its certificates is heeded`() = World.start().use { world ->
        test {
            val named = Source.endpoint(world.setUrl) {
                bootstrap(world.bootstrap)
                setName = "of-somebody-else"
            }
            assertTrue(runCatching { KeySwap.follow(named, fast()).close() }.exceptionOrNull() is KeySwapException)
            for (told in listOf<Endpoint.() -> Unit>({ clientCertificateFile("/nowhere") }, { rootCertificatesFile("/nowhere") })) {
                val source = Source.endpoint("https://127.0.0.1:1/sets/a") { noBootstrap(); told() }
                val thrown = runCatching { KeySwap.follow(source, fast()) }.exceptionOrNull()
                assertTrue(thrown!!.message!!.contains("/nowhere"), "$thrown")
            }
        }
    }

    @Test
    fun `an event says why, and what was never accepted`() = World.start().use { world ->
        test {
            val odd = KeySwap.follow(Source.of { NewSet(NewCredential("k1", "a\nb")) }, fast())
            val wrong = KeySwap.follow(Source.of { NewSet(NewCredential("k1", "a")) }, fast())
            for ((keys, name) in listOf(odd to "rejected", wrong to "exhausted")) {
                kotlinx.coroutines.coroutineScope {
                    val told = async(start = CoroutineStart.UNDISPATCHED) { keys.events.first { it.name == name } }
                    Way.of("kotlin", keys, world.apiUrl).use { way -> runCatching { way.send(Sent("${world.apiUrl}/always-401")) } }
                    val event = told.await()
                    if (event is Event.Rejected) assertFalse(event.reason.isNullOrEmpty())
                    else assertTrue((event as Event.Exhausted).neverAccepted)
                }
                keys.close()
            }
        }
    }

    @Test
    fun `a failure displaces nothing`() = test {
        val calls = AtomicInteger()
        val keys = KeySwap.follow(Source.of { if (calls.incrementAndGet() > 1) error("no") else NewSet(NewCredential("k1", "a")) }, fast())
        keys.use {
            assertTrue(runCatching { keys.refresh() }.exceptionOrNull() is KeySwapException.SourceFailed)
            assertEquals("k1", keys.current.id)
        }
    }

    @Test
    fun `a fetch that hangs is cancelled when nobody waits for it`() = test {
        val began = CompletableDeferred<Unit>()
        val cancelled = CompletableDeferred<Unit>()
        val source = Source.of {
            began.complete(Unit)
            try {
                awaitCancellation()
            } finally {
                cancelled.complete(Unit)
            }
        }
        val keys = KeySwap.start(source)
        began.await()
        keys.close()
        cancelled.await()
    }

    @Test
    fun `a cancelled coroutine ends its wait, and no other`() = World.start().use { world ->
        test {
            world.step("endpoint", "fault" to "hang")
            KeySwap.start(world.source(), fast()).use { keys ->
                kotlinx.coroutines.coroutineScope {
                    val waiting = launch(start = CoroutineStart.UNDISPATCHED) { keys.ready() }
                    while (keys.stats.waiting == 0L) kotlinx.coroutines.yield()
                    waiting.cancelAndJoin()
                    while (keys.stats.waiting > 0L) kotlinx.coroutines.yield()
                }
                assertThrows(KeySwapException.Timeout::class.java) { runBlocking { keys.ready(30.milliseconds) } }
                world.step("endpoint", "fault" to "none")
            }
        }
    }

    @Test
    fun `what a program says wrongly is told at once, and typed`() {
        fun wrong(code: String, run: () -> Unit) {
            val cause = assertThrows(IllegalArgumentException::class.java, run).cause as KeySwapException
            assertEquals(code to true, cause.code to cause.isLasting)
        }
        wrong("invalid_config") { Source.endpoint("not a url") }
        // The source says so when it is asked.
        assertThrows(KeySwapException.InsecureUrl::class.java) {
            runBlocking { KeySwap.follow(Source.endpoint("http://keys.example.com/sets/a")) }
        }
        wrong("invalid_config") { Source.endpoint("https://keys.example.com/sets/a") { clientCertificate("s3cr3t") } }
        wrong("invalid_config") { KeySwap.start(Source.env("NOWHERE"), Policy { pollSpread = -3.0 }) }
        val keys = KeySwap.start(Source.env("KEYSWAP_TEST_THAT_IS_NOT_SET"))
        keys.use {
            for (origins in listOf(emptyList(), listOf("not a url"))) wrong("invalid_config") { Authorizer(keys, HEADER, origins) }
            wrong("insecure_url") { Authorizer(keys, HEADER, listOf("http://api.example.com")) }
            wrong("invalid_config") { Authorizer(keys, Scheme.header("no header"), listOf("https://api.example.com")) }
            wrong("invalid_config") { OkHttpClient.Builder().keyswap(keys, HEADER, emptyList()) }
        }
    }

    @Test
    fun `there is a class for each code, and no other`() {
        assertEquals(dev.keyswap.internal.constants().errorCodes.toSet(), KeySwapException.codes)
        for (code in KeySwapException.codes) {
            val thrown = KeySwapException.of(code, "x")
            assertEquals(code, thrown.code)
            assertEquals(code.replace("_", ""), thrown.javaClass.simpleName.lowercase())
        }
    }

    @Test
    fun `an error says all that is known of it`() = World.start().use { world ->
        test {
            world.step("endpoint", "fault" to "rate_limited", "retry_after" to 7)
            val thrown = runCatching { KeySwap.follow(world.source(), fast()) }.exceptionOrNull() as KeySwapException
            assertEquals(listOf("throttled", 429, 7.seconds, false), with(thrown) { listOf(code, status, retryAfter, isLasting) })
        }
    }

    @Test
    fun `events and statistics show every field of the core's`() {
        // What has a form for Java as well is one property.
        fun properties(type: Class<*>) = type.methods.filter { it.declaringClass == type && it.name.startsWith("get") }
            .map { it.name.substringBefore('-') }.toSet()
        val kinds = Event::class.java.permitted()
        // The text of an event is what it prints.
        assertEquals(properties(NativeEvent::class.java).size - 1, kinds.flatMap(::properties).toSet().size)
        assertEquals(properties(NativeStats::class.java).size, properties(Stats::class.java).size)
        assertTrue(kinds.size > 15)
    }

    /** The classes within. */
    private fun Class<*>.permitted() = declaredClasses.filter { isAssignableFrom(it) }

    @Test
    fun `each public name has a comment`() {
        val bare = File(ROOT, "bindings/kotlin").walk().filter { it.extension == "kt" && "/src/main/" in it.path }.flatMap { file ->
            val lines = file.readLines().map(String::trim).filterNot { it.startsWith("@") && " public " !in it }
            lines.zipWithNext().filter { (before, line) ->
                Regex("(@\\S+ )?public (?!companion)").matchesAt(line, 0) && !before.endsWith("*/")
            }.map { "${file.name}: ${it.second}" }
        }
        assertEquals(emptyList<String>(), bare.toList())
    }

    @Test
    fun `two hundred that nobody closed are collected, and end`() = test {
        val polls = (1..200).map { polling() }
        withTimeout(30.seconds) {
            // Each is looked at, each time.
            while (polls.count { it.isAlive() || it.handle.get() != null } > 0) {
                System.gc()
                kotlinx.coroutines.yield()
            }
        }
    }

    /** It polls very often, so that one that lives on shows. */
    private suspend fun polling(): Polling {
        val fetches = AtomicInteger()
        val source = Source.of {
            fetches.incrementAndGet()
            NewSet(NewCredential("k", "a"))
        }
        val often = Policy {
            poll = 50.milliseconds
            fetchFloor = 10.milliseconds
            fetchFloorMin = 10.milliseconds
        }
        return Polling(WeakReference(KeySwap.follow(source, often)), fetches)
    }

    private class Polling(val handle: WeakReference<KeySwap>, private val fetches: AtomicInteger) {
        private var seen = 0
        private var since = 0L

        /** Nothing tells that nothing comes any more: several polls would have come meanwhile. */
        fun isAlive(): Boolean {
            val now = System.nanoTime()
            if (fetches.get() != seen) {
                seen = fetches.get()
                since = now
            }
            return now - since < 400_000_000
        }
    }

    @Test
    fun `a policy has a property for each number of the core, and says what it is`() {
        val names = Policy::class.java.methods.map { it.name }.filter { it.startsWith("set") && it != "set" }.map {
            it.removePrefix("set").substringBefore('-').replace(Regex("(?<!^)([A-Z])"), "_$1").lowercase()
        }
        val known = Regex("(?m)^    pub ([a-z_]+): ").findAll(java.io.File(ROOT, "core/src/policy.rs").readText())
            .map { it.groupValues[1] }.toSet()
        assertTrue(known.size > 30, "$known")
        assertEquals(emptySet<String>(), known - names.toSet())
        val text = java.io.File(ROOT, "bindings/kotlin/src/main/kotlin/dev/keyswap/Policy.kt").readText()
        assertEquals(known.size, Regex("""\*/\n    public var """).findAll(text).count())
    }

    @Test
    fun `what is collected for events does not keep the handle alive`() = test {
        kotlinx.coroutines.coroutineScope {
            val collecting = launch { events().collect {} }
            while (!collecting.isCompleted) {
                System.gc()
                kotlinx.coroutines.delay(10)
            }
        }
    }

    private suspend fun events() = own().events

    @Test
    fun `without a network nothing is fetched, and with it at once`() = test {
        var isThere = false
        val calls = AtomicInteger()
        val source = Source.of {
            calls.incrementAndGet()
            NewSet(NewCredential("k1", "a"))
        }
        KeySwap.start(source.whenReachable { isThere }, fast()).use { keys ->
            assertTrue(runCatching { keys.ready() }.exceptionOrNull() is KeySwapException.Unavailable)
            assertEquals(0, calls.get())
            isThere = true
            keys.networkChanged()
            while (keys.stats.generation == null) kotlinx.coroutines.yield()
            assertEquals("k1", keys.current.id)
            keys.enteredBackground()
            keys.enteredForeground()
        }
        KeySwap.follow(source.whenReachable { error("s3cr3t") }, fast()).close()
    }

    @Test
    fun `a bootstrap credential from the device's storage`() = World.start().use { world ->
        test {
            var stored: String? = null
            val source = Source.endpoint(world.setUrl) { bootstrapIn { stored } }
            assertTrue(runCatching { KeySwap.follow(source, fast()) }.exceptionOrNull() is KeySwapException.SourceFailed)
            stored = world.bootstrap
            KeySwap.follow(source, fast()).use { assertEquals("k1", it.current.id) }
        }
    }

    @Test
    fun `nothing that can be printed holds a secret`() = test {
        val lines = LinkedBlockingQueue<String>()
        Logger.install { level, event, text -> lines += "$level $event $text" }
        val current = NewCredential("k2", "s3cr3t-key", secret = "s3cr3t-secret")
        val set = NewSet(current, listOf(NewCredential("k1", "s3cr3t-old")))
        val source = Source.of { set }
        val keys = KeySwap.follow(source, fast(), name = "trading")
        keys.use {
            val scheme = Scheme.basic()
            val authorizer = Authorizer(keys, scheme, listOf("https://api.example.com"))
            // Until the API has accepted the key, each request takes an attempt, and nothing is prepared.
            authorizer.begin("https://api.example.com/x").use { first ->
                first.apply("GET", "https://api.example.com/x")
                first.response(200, emptyMap())
            }
            while (authorizer.prepared() == null) kotlinx.coroutines.yield()
            val attempt = authorizer.begin("https://api.example.com/x")
            val seen = authorizer.prepared()!!
            assertTrue(seen.patch.reveal().getValue("Authorization").startsWith("Basic "))
            val signed = UnsignedRequest("GET", "https://api.example.com/?s3cr3t", mapOf("a" to "s3cr3t"), null)
            val signature = Signature(mapOf("a" to "s3cr3t"), mapOf("b" to "s3cr3t"))
            val things = listOf(
                keys, keys.current, keys.credentials, keys.stats, source, current, set, scheme, authorizer, attempt, seen, signed, signature,
                seen.patch, seen.snapshot, seen.snapshot.patch(), attempt.apply("GET", "https://api.example.com/x"),
                attempt.native, attempt.native.apply("GET", "https://api.example.com/x"), keys.native.current(),
                keys.native.credentials(), dev.keyswap.internal.NativeSecret("s3cr3t"),
                runCatching { keys.current.reveal("nothing") }.exceptionOrNull(),
            )
            for (thing in things) {
                val shown = thing.toString()
                assertFalse("s3cr3t" in shown || "Basic " in shown || "czNjcjN0" in shown, shown)
            }
            assertEquals("s3cr3t-secret", keys.current.reveal("secret"))
        }
        assertTrue(lines.poll(10, TimeUnit.SECONDS) != null, "nothing was logged")
        Logger.install(null)
        assertFalse(lines.any { "s3cr3t" in it })
        assertNull(lines.firstOrNull { it.isBlank() })
    }
}
