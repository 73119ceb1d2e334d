package dev.keyswap

import dev.keyswap.ktor.KeySwapAuth
import dev.keyswap.ktor.resend
import dev.keyswap.ktor.scopes
import dev.keyswap.okhttp.keyswap
import dev.keyswap.okhttp.resend
import dev.keyswap.okhttp.scopes
import io.ktor.client.HttpClient
import io.ktor.client.engine.cio.CIO
import io.ktor.client.engine.cio.endpoint
import io.ktor.client.plugins.HttpRedirect
import io.ktor.client.plugins.HttpTimeout
import io.ktor.client.plugins.HttpTimeoutConfig
import io.ktor.client.plugins.timeout
import io.ktor.client.request.header
import io.ktor.client.request.request
import io.ktor.client.request.setBody
import io.ktor.client.statement.bodyAsText
import io.ktor.http.HttpMethod
import io.ktor.utils.io.ByteReadChannel
import java.io.IOException
import java.io.InterruptedIOException
import java.util.concurrent.TimeUnit
import kotlin.coroutines.resume
import kotlin.coroutines.resumeWithException
import kotlinx.coroutines.suspendCancellableCoroutine
import okhttp3.Call
import okhttp3.Callback
import okhttp3.Dispatcher
import okhttp3.Headers.Companion.toHeaders
import okhttp3.MediaType
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.RequestBody
import okhttp3.RequestBody.Companion.toRequestBody
import okhttp3.Response
import okio.BufferedSink

/** What a test sends; the body is null, text, or text that can be sent only once. */
class Sent(
    val url: String,
    val method: String = "GET",
    val body: String? = null,
    val isOneShot: Boolean = false,
    val timeoutMs: Long = 0,
    val headers: Map<String, String> = emptyMap(),
    val resend: Boolean = true,
    val scopes: List<String> = emptyList(),
)

class Got(val status: Int, val text: String, val shownUrl: String, val location: String? = null)

/** A library that sends; its own errors pass. */
abstract class Way : AutoCloseable {
    abstract suspend fun send(sent: Sent): Got

    companion object {
        val NAMES = listOf("kotlin", "kotlin-ktor")

        fun of(name: String, keys: KeySwap, origin: String, scheme: Scheme? = HEADER, classifier: Classifier? = null): Way =
            of(name, keys, listOf(origin), scheme, classifier)

        fun of(
            name: String,
            keys: KeySwap,
            origins: List<String>,
            scheme: Scheme? = HEADER,
            classifier: Classifier? = null,
            ownHeaderWins: Boolean = false,
        ): Way = when (name) {
            "kotlin" -> OkHttpWay(keys, scheme, origins, classifier, ownHeaderWins)
            else -> KtorWay(keys, scheme, origins, classifier, ownHeaderWins)
        }
    }
}

private class OkHttpWay(
    keys: KeySwap,
    scheme: Scheme?,
    origins: List<String>,
    classifier: Classifier?,
    ownHeaderWins: Boolean,
) : Way() {
    private val client = OkHttpClient.Builder()
        .dispatcher(
            Dispatcher().apply {
                maxRequests = 5000
                maxRequestsPerHost = 5000
            },
        )
        .readTimeout(0, TimeUnit.SECONDS)
        .keyswap(keys, scheme, origins, classifier, ownHeaderWins = ownHeaderWins)
        .build()

    override suspend fun send(sent: Sent): Got {
        val body = when {
            sent.body == null -> null
            sent.isOneShot -> OneShot(sent.body)
            else -> sent.body.toRequestBody()
        }
        val request = Request.Builder().url(sent.url).method(sent.method, body).resend(sent.resend)
            .scopes(*sent.scopes.toTypedArray()).headers(sent.headers.toHeaders()).build()
        val call = client.newCall(request)
        call.timeout().timeout(sent.timeoutMs, TimeUnit.MILLISECONDS)
        return suspendCancellableCoroutine { waiting ->
            waiting.invokeOnCancellation { call.cancel() }
            call.enqueue(object : Callback {
                override fun onFailure(call: Call, e: IOException) = waiting.resumeWithException(e)

                override fun onResponse(call: Call, response: Response) {
                    val got = runCatching {
                        response.use { Got(it.code, it.body.string(), it.request.toString(), it.header("Location")) }
                    }
                    got.fold({ waiting.resume(it) }, { waiting.resumeWithException(it) })
                }
            })
        }
    }

    override fun close() {
        client.dispatcher.executorService.shutdown()
        client.connectionPool.evictAll()
    }

    private class OneShot(private val text: String) : RequestBody() {
        override fun contentType(): MediaType? = null

        override fun isOneShot(): Boolean = true

        override fun writeTo(sink: BufferedSink) {
            sink.writeUtf8(text)
        }
    }
}

private class KtorWay(
    keys: KeySwap,
    scheme: Scheme?,
    origins: List<String>,
    classifier: Classifier?,
    ownHeaderWins: Boolean,
) : Way() {
    private val client = HttpClient(CIO) {
        // As other libraries do; its own default follows only a GET.
        install(HttpRedirect) { checkHttpMethod = false }
        install(HttpTimeout)
        install(KeySwapAuth) {
            this.keys = keys
            this.scheme = scheme
            allowedOrigins = origins
            this.classifier = classifier
            this.ownHeaderWins = ownHeaderWins
        }
        engine {
            maxConnectionsCount = 5000
            endpoint { maxConnectionsPerRoute = 5000 }
        }
    }

    override suspend fun send(sent: Sent): Got {
        val response = client.request(sent.url) {
            method = HttpMethod.parse(sent.method)
            resend = sent.resend
            scopes = sent.scopes
            sent.headers.forEach { (name, value) -> header(name, value) }
            timeout {
                requestTimeoutMillis =
                    if (sent.timeoutMs > 0) sent.timeoutMs else HttpTimeoutConfig.INFINITE_TIMEOUT_MS
            }
            if (sent.body != null) setBody(if (sent.isOneShot) ByteReadChannel(sent.body) else sent.body)
        }
        return Got(response.status.value, response.bodyAsText(), response.call.request.headers.toString())
    }

    override fun close() = client.close()
}

/** Another library's error, in the words of a story. */
fun codeOf(thrown: Throwable): String = when {
    thrown is KeySwapException -> thrown.code
    thrown is InterruptedIOException || "Timeout" in thrown.javaClass.simpleName -> "timeout"
    else -> "transport"
}
