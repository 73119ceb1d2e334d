package dev.keyswap

import com.google.gson.JsonElement
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import java.io.File
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.atomic.AtomicLong
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.TimeoutCancellationException
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.coroutines.yield

private const val ORDER = "{\"order\": 1}"
private val FOLDER = File(ROOT, "tests/scenarios")

/** The stories that are played over sockets. */
fun storyNames(): List<String> =
    FOLDER.listFiles { file -> file.extension == "json" }!!.map { it.nameWithoutExtension }
        .filter { readStory(it)["virtual_only"]?.asBoolean != true }.sorted()

fun readStory(name: String): JsonObject = JsonParser.parseString(File(FOLDER, "$name.json").readText()).asJsonObject

/** What the support matrix says is not run, and why. */
fun notRun(through: String): Map<String, String> {
    val matrix = File(ROOT, "tests/support-matrix.yaml").readText()
    val block = Regex("(?m)^  $through:\n    not_run:(?: \\{})?\n((?:      .*\n?)*)").find(matrix)
        ?: error("the matrix does not speak of $through")
    return block.groupValues[1].lines().filter(String::isNotBlank).associate { line ->
        val (name, reason) = line.trim().split(": ", limit = 2)
        name to reason
    }
}

private val CODE_IN_BODY = Classifier(setOf(200, 401), 256) { (status, body) ->
    when {
        status == 200 && body == null -> Verdict.NEED_BODY
        status == 200 -> if ("\"bad_key\"" in String(body!!)) Verdict.REJECTED else Verdict.ACCEPTED
        status == 401 -> Verdict.REJECTED
        else -> Verdict.OTHER
    }
}

private operator fun Judged.component1() = status

private operator fun Judged.component2() = body

/** One story, played through one library. */
class Play(private val world: World, private val through: String, private val told: JsonObject) {
    private val client = told["client"].asJsonObject
    private val isCold = client["start"]?.asString == "cold"
    private val counts = ConcurrentHashMap<String, AtomicLong>()
    private var begin = 0L

    /** By so much the clock of the endpoint may be ahead. */
    var startedMs = 0L
        private set

    /** What did not come out; empty if all did. */
    suspend fun complaint(): String = coroutineScope {
        if (isCold) start()
        val keys = KeySwap.start(source(), policy())
        val listening = launch(start = CoroutineStart.UNDISPATCHED) {
            keys.events.collect { add("event.${it.name}") }
        }
        val scheme = when (client["scheme"]?.asString ?: "header") {
            "bearer" -> Scheme.bearer()
            "query" -> Scheme.query("api_key")
            "set" -> null
            else -> HEADER
        }
        val classifier = CODE_IN_BODY.takeIf { client["classifier"]?.asString == "code_in_body" }
        val way = Way.of(through, keys, world.apiUrl, scheme, classifier)
        if (!isCold) {
            keys.ready(10.seconds)
            // What was told before the client was ready is no part of the story.
            withTimeoutOrNull(200) { while (!counts.containsKey("event.fetched") || !counts.containsKey("event.swapped")) yield() }
            counts.clear()
        }
        if (!isCold) start()
        coroutineScope {
            for (caller in told["callers"].asJsonArray.map(JsonElement::getAsJsonObject)) {
                repeat(caller["count"].asInt) { launch(Dispatchers.Default) { call(way, caller) } }
            }
            for (hint in client["hints"]?.asJsonArray.orEmpty().map(JsonElement::getAsJsonObject)) {
                launch {
                    until(hint["at"].asLong)
                    keys.hint(hint["generation"].given()?.asLong)
                }
            }
            until(told["run_ms"].asLong)
        }
        delay(30)
        val stats = keys.stats
        val report = JsonObject()
        counts.forEach { (name, count) -> report.addProperty(name, count.get()) }
        report.addProperty("in_use", stats.inUse ?: "none")
        report.addProperty("generation", stats.generation ?: 0)
        val verdict = world.control("finish", report)
        keys.close()
        listening.join()
        way.close()
        val wrong = verdict["mismatches"].asJsonArray.toList() + verdict["errors"].asJsonArray
        if (wrong.isEmpty()) "" else "$wrong\ncounted: ${verdict["counters"]}"
    }

    private fun source(): Source {
        val urls = told["set_urls"].asJsonArray.map { it.asString }
        return Source.endpoint(urls.first()) {
            bootstrap(told["bootstrap"].asString)
            if (client["push"].given()?.asBoolean == false) noPush()
            heartbeat = client["heartbeat_ms"].given()?.asLong?.milliseconds
            if (client["signed_by_endpoint"].given()?.asBoolean == true) signedBy = told["public_key"].asString
            urls.drop(1).forEach(::region)
        }
    }

    private fun policy() = Policy {
        told["policy"].given()?.asJsonObject?.entrySet()?.forEach { (name, number) -> put(name, number.toString()) }
        client["lease_ms"].given()?.let { put("lease", "${it.asDouble / 1000}") }
    }

    private fun start() {
        val before = System.nanoTime()
        world.control("start", JsonObject())
        begin = System.nanoTime()
        startedMs = (begin - before) / 1_000_000
    }

    private suspend fun until(at: Long) {
        delay(maxOf(0, at - (System.nanoTime() - begin) / 1_000_000))
    }

    private suspend fun call(way: Way, caller: JsonObject) {
        val body = caller["body"].given()?.asString ?: "none"
        val sent = Sent(
            world.apiUrl + caller["path"].asString,
            caller["method"].asString,
            ORDER.takeIf { body != "none" },
            body == "one_shot",
            caller["timeout_ms"].asLong,
            scopes = caller["scopes"].given()?.asJsonArray?.map { it.asString }.orEmpty(),
        )
        val patience = caller["cancel_after_ms"].given()?.asLong
        repeat(caller["repeat"].asInt) { nth ->
            until(caller["at"].asLong + nth * caller["every"].asLong)
            add("requests")
            try {
                val got = if (patience == null) way.send(sent) else withTimeout(patience) { way.send(sent) }
                add("status.${got.status}")
                if (got.status >= 400) add("failed")
            } catch (_: TimeoutCancellationException) {
                add("cancelled")
            } catch (thrown: Exception) {
                add("failed")
                add("error.${codeOf(thrown)}")
            }
        }
    }

    private fun add(name: String) {
        counts.computeIfAbsent(name) { AtomicLong() }.incrementAndGet()
    }
}

private fun JsonElement?.given(): JsonElement? = this?.takeIf { !it.isJsonNull }

private fun Iterable<JsonElement>?.orEmpty(): Iterable<JsonElement> = this ?: emptyList()
