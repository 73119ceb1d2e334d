package dev.keyswap

import dev.keyswap.ktor.KeySwapAuth
import dev.keyswap.okhttp.keyswap
import io.ktor.client.HttpClient
import io.ktor.client.HttpClientConfig
import io.ktor.client.call.replaceResponse
import io.ktor.client.engine.cio.CIO
import io.ktor.client.engine.cio.CIOEngineConfig
import io.ktor.client.plugins.HttpTimeout
import io.ktor.client.plugins.HttpTimeoutConfig
import io.ktor.client.plugins.cache.HttpCache
import io.ktor.client.plugins.cookies.HttpCookies
import io.ktor.client.plugins.onUpload
import io.ktor.client.plugins.timeout
import io.ktor.client.request.HttpRequestBuilder
import io.ktor.client.request.header
import io.ktor.client.request.prepareRequest
import io.ktor.client.request.request
import io.ktor.client.request.setBody
import io.ktor.client.statement.HttpReceivePipeline
import io.ktor.client.statement.bodyAsChannel
import io.ktor.client.statement.bodyAsBytes
import io.ktor.http.HttpMethod
import io.ktor.util.GZip
import io.ktor.util.toMap
import io.ktor.utils.io.InternalAPI
import io.ktor.utils.io.readAvailable
import java.io.File
import java.io.IOException
import java.net.Proxy
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.TimeUnit
import kotlin.coroutines.resume
import kotlin.coroutines.resumeWithException
import kotlinx.coroutines.suspendCancellableCoroutine
import okhttp3.Cache
import okhttp3.Call
import okhttp3.Callback
import okhttp3.Cookie
import okhttp3.CookieJar
import okhttp3.Headers.Companion.toHeaders
import okhttp3.HttpUrl
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.RequestBody
import okhttp3.RequestBody.Companion.toRequestBody
import okhttp3.Response

/** How a library is set up. Without keys it is the library alone. */
class Setting(
    val keys: KeySwap?,
    val origins: List<String>,
    val scheme: Scheme = KEY_HEADER,
    val classifier: Classifier? = null,
    val proxy: Proxy? = null,
    val cache: File? = null,
    val hasCookies: Boolean = false,
    /** More of OkHttp's, before and after `keyswap`. */
    val before: OkHttpClient.Builder.() -> Unit = {},
    val after: OkHttpClient.Builder.() -> Unit = {},
    /** More of Ktor's. */
    val plugins: HttpClientConfig<CIOEngineConfig>.() -> Unit = {},
    /** Whether Ktor unpacks what it gets, which it does by a plugin of its own. */
    val unpacks: Boolean = false,
) {
    fun copied(
        before: OkHttpClient.Builder.() -> Unit = {},
        after: OkHttpClient.Builder.() -> Unit = {},
        plugins: HttpClientConfig<CIOEngineConfig>.() -> Unit,
    ): Setting = Setting(keys, origins, scheme, before = before, after = after, plugins = plugins)
}

val KEY_HEADER: Scheme = Scheme.header("X-MEXC-APIKEY")

/** What is asked. The body is what the library takes for one. */
class Ask(
    val url: String,
    val method: String = "GET",
    val body: Any? = null,
    val headers: Map<String, String> = emptyMap(),
    val timeoutMs: Long = 0,
)

class Reply(val status: Int, val headers: Map<String, List<String>>, val body: ByteArray) {
    val text: String get() = body.decodeToString()
}

/** A library, with its adapter or alone. */
abstract class Library : AutoCloseable {
    abstract suspend fun send(ask: Ask): Reply

    /** Reads a response part by part, as it arrives. */
    abstract suspend fun stream(url: String, heard: (ByteArray) -> Unit)

    suspend fun get(url: String, vararg headers: Pair<String, String>): Reply = send(Ask(url, headers = mapOf(*headers)))
}

enum class Adapter(private val open: (Setting) -> Library) {
    OKHTTP(::OkHttpLibrary), KTOR(::KtorLibrary);

    override fun toString(): String = "kotlin-${name.lowercase()}"

    fun open(setting: Setting): Library = open.invoke(setting)
}

class OkHttpLibrary(setting: Setting) : Library() {
    val client: OkHttpClient = OkHttpClient.Builder().apply {
        setting.proxy?.let(::proxy)
        setting.cache?.let { cache(Cache(it, 1 shl 20)) }
        if (setting.hasCookies) cookieJar(Jar())
        setting.before(this)
        with(setting) { if (keys != null) keyswap(keys, scheme, origins, classifier, plainHttpAllowed = true) }
        setting.after(this)
    }.build()

    private fun request(ask: Ask): Request {
        val body = when (val body = ask.body) {
            null -> if (ask.method == "POST" || ask.method == "PUT" || ask.method == "PATCH") ByteArray(0).toRequestBody() else null
            is String -> body.toRequestBody()
            is ByteArray -> body.toRequestBody()
            else -> body as RequestBody
        }
        return Request.Builder().url(ask.url).method(ask.method, body).headers(ask.headers.toHeaders()).build()
    }

    override suspend fun send(ask: Ask): Reply {
        val call = client.newCall(request(ask))
        call.timeout().timeout(ask.timeoutMs, TimeUnit.MILLISECONDS)
        return suspendCancellableCoroutine { waiting ->
            waiting.invokeOnCancellation { call.cancel() }
            call.enqueue(object : Callback {
                override fun onFailure(call: Call, e: IOException) = waiting.resumeWithException(e)

                override fun onResponse(call: Call, response: Response) {
                    val got = runCatching { response.use { Reply(it.code, it.headers.toMultimap(), it.body.bytes()) } }
                    got.fold({ waiting.resume(it) }, { waiting.resumeWithException(it) })
                }
            })
        }
    }

    override suspend fun stream(url: String, heard: (ByteArray) -> Unit) {
        client.newCall(request(Ask(url))).execute().use { response ->
            val part = ByteArray(8192)
            while (true) {
                val size = response.body.byteStream().read(part)
                if (size < 0) return
                heard(part.copyOf(size))
            }
        }
    }

    override fun close() {
        client.dispatcher.executorService.shutdown()
        client.connectionPool.evictAll()
        client.cache?.close()
    }

    private class Jar : CookieJar {
        private val kept = ConcurrentHashMap<String, List<Cookie>>()

        override fun loadForRequest(url: HttpUrl): List<Cookie> = kept[url.host].orEmpty()

        override fun saveFromResponse(url: HttpUrl, cookies: List<Cookie>) {
            kept[url.host] = cookies
        }
    }
}

class KtorLibrary(setting: Setting) : Library() {
    private val client = HttpClient(CIO) {
        install(HttpTimeout)
        if (setting.cache != null) install(HttpCache)
        if (setting.hasCookies) install(HttpCookies)
        setting.plugins(this)
        if (setting.keys != null) {
            install(KeySwapAuth) {
                keys = setting.keys
                scheme = setting.scheme
                allowedOrigins = setting.origins
                classifier = setting.classifier
                plainHttpAllowed = true
            }
        }
        engine { proxy = setting.proxy }
    }.apply { if (setting.unpacks) unpack() }

    private fun HttpRequestBuilder.ask(ask: Ask) {
        method = HttpMethod.parse(ask.method)
        ask.headers.forEach { (name, value) -> header(name, value) }
        timeout { requestTimeoutMillis = if (ask.timeoutMs > 0) ask.timeoutMs else HttpTimeoutConfig.INFINITE_TIMEOUT_MS }
        if (ask.body != null) setBody(if (ask.body is Watched) ask.body.text else ask.body)
        if (ask.body is Watched) onUpload { _, _ -> }
    }

    override suspend fun send(ask: Ask): Reply {
        val response = client.request(ask.url) { ask(ask) }
        return Reply(response.status.value, response.headers.toMap().mapKeys { it.key.lowercase() }, response.bodyAsBytes())
    }

    override suspend fun stream(url: String, heard: (ByteArray) -> Unit) {
        client.prepareRequest(url) { ask(Ask(url)) }.execute { response ->
            val channel = response.bodyAsChannel()
            val part = ByteArray(8192)
            while (true) {
                val size = channel.readAvailable(part)
                if (size < 0) break
                heard(part.copyOf(size))
            }
        }
    }

    override fun close(): Unit = client.close()
}

/** A body whose progress is told. */
class Watched(val text: String)

/** What Ktor's plugin for this does. */
@OptIn(InternalAPI::class)
private fun HttpClient.unpack() {
    receivePipeline.intercept(HttpReceivePipeline.State) { response ->
        if (response.headers["content-encoding"] != "gzip") return@intercept
        val headers = io.ktor.http.Headers.build {
            response.headers.forEach { name, values -> if (!name.startsWith("content-", ignoreCase = true)) appendAll(name, values) }
        }
        proceedWith(response.call.replaceResponse(headers) { GZip.decode(rawContent, coroutineContext) }.response)
    }
}
