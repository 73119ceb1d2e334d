package dev.keyswap

import com.sun.management.OperatingSystemMXBean
import dev.keyswap.ktor.KeySwapAuth
import dev.keyswap.okhttp.keyswap
import io.ktor.client.HttpClient
import io.ktor.client.engine.cio.CIO
import io.ktor.client.engine.cio.endpoint
import io.ktor.client.request.get
import io.ktor.client.request.header
import io.ktor.client.statement.bodyAsText
import java.lang.management.ManagementFactory
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import okhttp3.OkHttpClient
import okhttp3.Request
import org.junit.jupiter.api.Test

/**
 * What a request costs with keyswap and without it, in CPU time of the client: `bindings/kotlin/bench`. It is no test,
 * and its name keeps it from being run as one.
 *
 * The two take turns in short slices of one process, so that a machine that has other work does so to both.
 */
class RequestBench {
    @Test
    fun okhttp(): Unit = World.start().use { world ->
        val keys = world.ready()
        val key = keys.current.reveal()
        val bare = OkHttpClient()
        val keyed = OkHttpClient.Builder().keyswap(keys, HEADER, listOf(world.apiUrl)).build()
        val url = "${world.apiUrl}/v1/price"

        fun send(client: OkHttpClient, request: Request) {
            val length = client.newCall(request).execute().use { it.body.bytes().size }
            check(length > 0) { "no answer" }
        }
        compare(
            "OkHttp",
            threadTime,
            without = { repeat(SLICE) { send(bare, Request.Builder().url(url).header("x-api-key", key).build()) } },
            having = { repeat(SLICE) { send(keyed, Request.Builder().url(url).build()) } },
        )
    }

    @Test
    fun ktor(): Unit = World.start().use { world ->
        val keys = world.ready()
        val key = keys.current.reveal()
        val url = "${world.apiUrl}/v1/price"
        val bare = HttpClient(CIO) { engine { endpoint { maxConnectionsPerRoute = AT_ONCE } } }
        val keyed = HttpClient(CIO) {
            engine { endpoint { maxConnectionsPerRoute = AT_ONCE } }
            install(KeySwapAuth) {
                this.keys = keys
                scheme = HEADER
                allowedOrigins = listOf(world.apiUrl)
            }
        }

        fun slice(send: suspend () -> String): Unit = runBlocking(Dispatchers.Default) {
            repeat(AT_ONCE) { launch { repeat(SLICE / AT_ONCE) { check(send().isNotEmpty()) { "no answer" } } } }
        }
        bare.use {
            keyed.use {
                compare(
                    "Ktor",
                    processTime,
                    without = { slice { bare.get(url) { header("x-api-key", key) }.bodyAsText() } },
                    having = { slice { keyed.get(url).bodyAsText() } },
                )
            }
        }
    }

    private val threads = ManagementFactory.getThreadMXBean()
    private val system = ManagementFactory.getOperatingSystemMXBean() as OperatingSystemMXBean

    /** The work of a call that blocks is done on its own thread. */
    private val threadTime = { threads.currentThreadCpuTime }
    private val processTime = { system.processCpuTime }

    private fun compare(name: String, time: () -> Long, without: () -> Unit, having: () -> Unit) {
        fun cost(slice: () -> Unit): Double {
            val began = time()
            slice()
            return (time() - began) / 1000.0 / SLICE
        }
        // The compiler has seen everything by then.
        repeat(WARM) { without().also { having() } }
        val rounds = List(ROUNDS) { nth ->
            // Who comes first changes.
            if (nth % 2 == 0) cost(without) to cost(having) else cost(having).let { cost(without) to it }
        }
        val bare = median(rounds.map { it.first })
        val keyed = median(rounds.map { it.second })
        val ratio = median(rounds.map { (bare, keyed) -> keyed / bare })
        val verdict = if (ratio <= GOAL) "ok    " else "MISSED"
        val shown = "$verdict %-8s %7.1f us a request, with keyswap %7.1f: %.3f <= %.2f"
        println(shown.format(name, bare, keyed, ratio, GOAL))
    }

    private fun median(of: List<Double>): Double = of.sorted()[of.size / 2]

    private companion object {
        const val AT_ONCE = 16
        const val SLICE = 320
        const val WARM = 40
        const val ROUNDS = 60
        const val GOAL = 1.05
    }
}
