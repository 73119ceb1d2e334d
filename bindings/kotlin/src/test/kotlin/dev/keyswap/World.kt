package dev.keyswap

import com.google.gson.Gson
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import java.io.File
import java.io.IOException
import java.util.concurrent.TimeUnit
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.runBlocking
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.RequestBody.Companion.toRequestBody

val ROOT: File = File(System.getProperty("keyswap.root")).canonicalFile

/** So that a test can fetch often, and a request that nothing helps does not wait long. */
fun fast() = Policy {
    fetchFloor = 50.milliseconds
    fetchFloorMin = 50.milliseconds
    wait = 300.milliseconds
}

val HEADER = Scheme.header("x-api-key")

/** A rotation endpoint and a protected API of one test. */
class World private constructor(private val process: Process, private val urls: JsonObject) : AutoCloseable {
    private val opened = mutableListOf<KeySwap>()
    val apiUrl: String = urls["api_url"].asString
    val otherUrl: String = urls["other_url"].asString
    var setUrl: String = urls["set_url"].asString
        private set
    var bootstrap: String = urls["bootstrap"].asString
        private set

    fun control(action: String, body: Any? = null): JsonObject {
        val json = body?.let { if (it is JsonObject) it.toString() else Gson().toJson(it) }
        val request = Request.Builder().url("${urls["control_url"].asString}/$action")
        if (json != null) request.post(json.toRequestBody())
        CONTROL.newCall(request.build()).execute().use { response ->
            val text = response.body.string()
            check(response.isSuccessful) { "$action: ${response.code} $text" }
            return if (text.isEmpty()) JsonObject() else JsonParser.parseString(text).asJsonObject
        }
    }

    /** A step of the timeline, now. */
    fun step(what: String, vararg fields: Pair<String, Any>) {
        control("step", mapOf("do" to what) + fields)
    }

    /** Begins anew, in such a world. */
    fun story(world: Map<String, Any>) {
        val told = control("story", mapOf("name" to "test", "about" to "t", "run_ms" to 60_000, "world" to world))
        setUrl = told["set_url"].asString
        bootstrap = told["bootstrap"].asString
        control("start", JsonObject())
    }

    fun count(name: String): Long = control("counters")[name]?.asLong ?: 0

    fun source(): Source = Source.endpoint(setUrl) { bootstrap(this@World.bootstrap) }

    fun ready(policy: Policy = fast()): KeySwap = runBlocking(Dispatchers.IO) {
        KeySwap.follow(source(), policy, timeout = 10.seconds).also { opened += it }
    }

    override fun close() {
        opened.forEach(KeySwap::close)
        process.outputStream.close()
        if (!process.waitFor(10, TimeUnit.SECONDS)) process.destroyForcibly()
    }

    companion object {
        private val CONTROL = OkHttpClient.Builder().readTimeout(1, TimeUnit.MINUTES).build()

        fun start(): World {
            val process = ProcessBuilder(binary().path, "serve", "--exit-with-stdin")
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start()
            val line = process.inputStream.bufferedReader().readLine() ?: throw IOException("the endpoint did not start")
            return World(process, JsonParser.parseString(line).asJsonObject)
        }

        private fun binary(): File {
            val target = System.getenv("CARGO_TARGET_DIR")?.let(::File) ?: File(ROOT, "target")
            val built = listOf("debug", "x86_64-unknown-linux-gnu/debug", "aarch64-unknown-linux-gnu/debug")
            return built.map { File(target, "$it/keyswap-endpoint") }.filter(File::exists).maxByOrNull(File::lastModified)
                ?: error("there is no keyswap-endpoint: cargo build -p keyswap-endpoint")
        }
    }
}
